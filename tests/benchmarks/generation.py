"""Time `model.generate` against transformers' own `generate` on the same folder, CPU, greedy.

    python tests/benchmarks/generation.py --tokens 96 --repeats 7
    python tests/benchmarks/generation.py FOLDER

Both write the same tokens, at most --tokens, after the same prompt, keys and values cached, taking
turns in this process. Tokens a second are medians, of wall and of CPU time; a ratio above 1 means
that nas is faster. Without a folder three fresh models are written: a llama of 1 and one of 30
million parameters, and a gpt2. A large model is bound by reading its weights, once a token, in
both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import nas
from nas.families import architecture
from nas.records import TaskSpec

SPEC = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=4096, context=512)
FRESH = {
    "llama 1M": architecture("llama", n_layer=4, d_model=96, n_head=4, d_ff=320),
    "llama 30M": architecture("llama", n_layer=9, d_model=512, n_head=8, n_kv_head=4, d_ff=1536),
    "gpt2 14M": architecture("gpt2", n_layer=7, d_model=384, n_head=6, d_ff=1536),
}
PROMPT = 32  # tokens

Times = list[tuple[float, float]]  # seconds of wall and CPU time


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="of a causal language model")
    parser.add_argument("--tokens", type=int, default=96, help="new tokens a turn (default 96)")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each (default 7)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'':12}{'parameters':>12}{'':>6}{'transformers':>14}{'nas':>10}{'ratio':>8}")
    if options.folder is not None:
        report(options.folder.name, options.folder, options)
        return
    for name, shape in FRESH.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            nas.save(nas.build(shape, SPEC), folder)
            report(name, folder, options)


def report(name: str, folder: Path, options: argparse.Namespace) -> None:
    params, written, times = compare(folder, options.tokens, options.repeats)
    for column, what in enumerate(("wall", "CPU")):
        theirs, ours = (
            written / statistics.median(turn[column] for turn in times[way])
            for way in ("transformers", "nas")
        )
        speeds = f"{theirs:>10.0f} t/s{ours:>6.0f} t/s{ours / theirs:>8.2f}"
        print(f"{name:12}{params:>12,}{what:>6}{speeds}")


def compare(folder: Path, tokens: int, repeats: int) -> tuple[int, int, dict[str, Times]]:
    """Return the model's parameters, the tokens that each turn wrote, and its times."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = nas.load(folder, device="cpu")
    stock = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = torch.arange(1, PROMPT + 1)[None]
    mask = torch.ones_like(prompt)

    def stock_tokens() -> Tensor:
        return stock.generate(
            prompt, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0
        )

    ways: dict[str, Callable[[], Tensor]] = {
        "transformers": stock_tokens,
        "nas": lambda: model.generate(prompt, max_new_tokens=tokens, temperature=0),
    }
    times: dict[str, Times] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        found = {}
        for name, write in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            found[name] = write()
            spent = (time.perf_counter() - wall, time.process_time() - cpu)
            if turn:  # the first one warms up
                times[name].append(spent)
        if not torch.equal(found["transformers"], found["nas"]):
            raise SystemExit(f"{folder}: the two wrote different tokens")
    return model.manifest.params, found["nas"].shape[1] - PROMPT, times


if __name__ == "__main__":
    main()
