"""Search an architecture for your own text, ask for the best, load it and let it write.

    python examples/01_own_text.py [TEXT_FILE_OR_FOLDER]

Without an argument it learns the source code of nas itself. Under a minute on two cores; the
study stays in ./studies/own_text, and running the script again shows its result at once.
"""

import sys
from pathlib import Path

import nas
from nas.driver.events import CandidateEnded, Event


def show(event: Event) -> None:
    if isinstance(event, CandidateEnded):
        print(f"#{event.number} {event.outcome.state}, loss {event.value}")


def main() -> None:
    text = sys.argv[1] if len(sys.argv) > 1 else str(Path(nas.__file__).parent)
    study = nas.search(
        "quickstart",  # the shipped study file, with a smaller budget
        name="own_text",
        overrides={
            "task.data": text,
            "per_candidate": {"tokens": 20_000, "rungs": [20_000]},
            "stop": {"candidates": 4, "minutes": 0.75},
            "finalists": {"top": 1, "seeds": 1},
        },
        listener=show,
    )

    print("\nval_loss  parameters  shape")
    for row in study.trials(where="state == 'complete'", role="search", limit=5):
        print(f"{row.metrics['val_loss']:8.4f}  {row.params:10,}  {dict(row.shape)}")

    model = nas.load(study)
    print(f"\n{model}\nin {model.folder}\n")
    print(model.generate("The ", max_new_tokens=200, temperature=0.8, seed=0))


main()  # without a guard on __name__: workers do not import this script
