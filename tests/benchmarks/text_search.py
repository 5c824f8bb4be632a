"""Search on a text under a cap of parameters and minutes; the winner over fresh seeds.

The figure in the README is on tinyshakespeare (Karpathy, 2015), whose last tenth is validation:

    python tests/benchmarks/text_search.py --data input.txt --minutes 20
"""

import argparse
import os
import tempfile
import time

import nas
from nas.config import config_from_plain
from nas.driver.events import CandidateEnded, FinalsStarted

SPACE = {
    "format_version": 1,
    "family": "llama",
    "fixed": {"head_dim": 32},
    "dimensions": {
        "n_layer": {"min": 3, "max": 8},
        "d_model": {"choices": [96, 112, 128, 144, 160]},
        "n_head": {"choices": [2, 3, 4]},
        "n_kv_head": {"choices": [1, 2, 3, 4]},
        "d_ff": {"min": 160, "max": 448, "step": 32},
    },
}
# nanoGPT's CPU shape with as many parameters in a SwiGLU feed-forward.
REFERENCE = {"n_layer": 4, "d_model": 128, "n_head": 4, "n_kv_head": 4, "d_ff": 320}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="builtin:python-docs")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--tokens", type=int, default=1_540_000)
    parser.add_argument("--max-params", type=int, default=800_000)
    parser.add_argument("--min-params", type=int, default=700_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--top", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    limits = {"max_params": args.max_params, "min_params": args.min_params}
    plain = {
        "format_version": 1,
        "space": SPACE | {"constraints": limits, "reference": REFERENCE},
        "task": {"name": "language_modeling", "data": args.data},
        "split": {"train": 0.9, "val": 0.1, "test": 0},
        "recipe": {"context": args.context, "batch": args.batch},
        "per_candidate": {"tokens": args.tokens},
        "finalists": {"top": args.top, "seeds": args.seeds},
        "stop": {"minutes": args.minutes},
        "device": "cpu",
        "seed": args.seed,
    }
    begun = time.perf_counter()

    def show(event: object) -> None:
        now = time.perf_counter() - begun
        if isinstance(event, CandidateEnded):
            print(f"{now:6.0f} s  #{event.number} {event.role:9} {event.value}", flush=True)
        elif isinstance(event, FinalsStarted):
            print(f"{now:6.0f} s  finals: {event.trainings} trainings ({event.reason})", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAS_STUDIES"] = folder
        study = nas.search(config_from_plain(plain, where="benchmark", name="text"), listener=show)
        print(f"{time.perf_counter() - begun:.0f} s wall, load average {os.getloadavg()[0]:.2f}")
        for group in study.finalists():
            row = group.rows[0]
            mean, sd = group.mean("val_loss"), group.sd("val_loss")
            name = "reference" if group.is_reference else f"#{row.number}"
            spread = "" if sd is None else f" +- {sd:.4f}"
            print(f"{name:10} {mean:.4f}{spread} nats a token over {len(group.rows)} seeds, "
                  f"{row.params:,} parameters, {dict(row.shape)}")  # fmt: skip


if __name__ == "__main__":
    main()
