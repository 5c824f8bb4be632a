"""Search over a family of your own: own/family.py, named in the space own/parallel.yaml.

    python examples/09_own_family.py [TEXT_FILE_OR_FOLDER]

A file that names code outside nas is refused unless you say that you trust it, since importing
code runs it: here trust=True, on the command line

    cd examples && nas search quickstart --space own/parallel.yaml --trust

About half a minute on two cores. The study stays in ./studies/own_family, and running the script
again shows its result at once.
"""

import sys
from pathlib import Path

import nas

SPACE = Path(__file__).parent / "own" / "parallel.yaml"


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else "builtin:python-docs"
    study = nas.search(
        "quickstart",
        name="own_family",
        overrides={
            "space": str(SPACE),
            "task.data": data,
            "per_candidate": {"tokens": 20_000},
            "stop": {"candidates": 6},
            "finalists": {"top": 1, "seeds": 1},
        },
        trust=True,
    )

    print("val_loss  parameters  layers, of them side by side")
    for row in study.trials("state == 'complete'", role="search"):
        layers, serial = row.shape["n_layer"], row.shape["n_serial"]
        print(f"{row.metrics['val_loss']:8.4f}  {row.params:10,}  {layers}, {layers - serial}")

    model = nas.load(study, trust=True)
    print(f"\n{model}\n{model.generate('The ', max_new_tokens=80, temperature=0.8, seed=0)}")


main()  # without a guard on __name__: workers do not import this script
