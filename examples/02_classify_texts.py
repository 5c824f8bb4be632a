"""Search a classifier of texts, compare it with the reference, load it and ask it.

    python examples/02_classify_texts.py [TABLE]

TABLE is a csv, tsv or jsonl file with the columns text and label; without one, docstrings of the
standard library are put to their packages. About a minute on two cores. The study stays in
./studies/texts, and running the script again shows its result at once.
"""

import sys

import nas


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else "builtin:docstrings"
    study = nas.search(
        "classify_docstrings",  # the shipped study file, with less time
        name="texts",
        overrides={"task.data": data, "stop.minutes": 0.75, "finalists.top": 1},
    )

    for group in study.finalists():
        who = "reference" if group.is_reference else f"#{group.rows[0].number}"
        accuracy, f1 = group.mean("test_accuracy"), group.mean("test_macro_f1")
        print(f"{who:10} test accuracy {accuracy:.3f}, macro F1 {f1:.3f}")

    model = nas.load(study)
    text = "Return the elements of a list in sorted order, smallest first."
    print(f"\n{text}")
    for answer in model.predict(text, top_k=2):
        print(f"{answer.score:6.1%} {answer.label}")


main()  # without a guard on __name__: workers do not import this script
