"""Search for shapes that are both good and fast on this machine, and take one from the front.

    python examples/11_good_and_fast.py [TEXT_FILE_OR_FOLDER]

Latency is that of writing one token with the context filled, on one CPU thread. Without an
argument Python's reference is learned. About a minute on two cores. The study stays in
./studies/good_and_fast, and running the script again shows its result at once.
"""

import sys

import nas


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else "builtin:python-docs"
    study = nas.search(
        "quickstart",
        name="good_and_fast",
        overrides={
            "task.data": data,
            "objectives": ["val_loss", "latency_ms"],
            "latency": {"phase": "decode", "batch": 1, "context": 64, "device": "cpu"},
            "per_candidate": {"tokens": 20_000},
            "stop": {"candidates": 8},
            "finalists": {"top": 1, "seeds": 1},
            "keep": 8,  # so that any of them can be loaded
        },
    )

    print("What no other candidate beats in both:")
    print("milliseconds  val_loss  parameters  shape")
    front = sorted(study.pareto(), key=lambda row: row.metrics["latency_ms"])
    for row in front:
        latency, loss = row.metrics["latency_ms"], row.metrics["val_loss"]
        print(f"{latency:12.3f}  {loss:8.4f}  {row.params:10,}  {dict(row.shape)}")

    limit = front[len(front) // 2].metrics["latency_ms"]
    row = study.best(max_latency_ms=limit)
    model = nas.load(row)
    print(f"\nThe best within {limit:.3f} ms: {row.candidate_id}, in {model.folder}")
    print(model.generate("The ", max_new_tokens=60, temperature=0.8, seed=0))


main()  # without a guard on __name__: workers do not import this script
