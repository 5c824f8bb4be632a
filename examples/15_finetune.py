"""Train a winner on with other text, and see what became of it.

    python examples/15_finetune.py [TEXT_FILE_OR_FOLDER] [STUDY_OR_MODEL_FOLDER]

By default a model of Python's reference (examples/small.yaml, half a minute the first time) goes
on with some source code of nas itself. The result stays in ./tuned and is shown again by the next
run; delete the folder to train anew.
"""

import sys
from pathlib import Path

import nas

SMALL = Path(__file__).with_name("small.yaml")
OUT = Path("tuned")


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else str(Path(nas.__file__).parent / "driver")
    base = nas.load(sys.argv[2] if len(sys.argv) > 2 else nas.search(SMALL))
    tuned = nas.load(OUT) if OUT.exists() else nas.finetune(base, data, tokens=40_000, out=OUT)

    before, after = tuned.metrics["val_before"], tuned.metrics["val"]
    print(
        f"validation loss on the new text: {before['loss']:.4f} before, {after['loss']:.4f} after"
    )
    for name, model in (("before", base), ("after", tuned)):
        text = model.generate("def ", max_new_tokens=100, temperature=0.7, seed=0)
        print(f"\n--- {name}\n{text}")
    print(f"\nin {tuned.folder}")


main()  # without a guard on __name__: workers do not import this script
