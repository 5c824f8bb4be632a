"""Search an encoder and a decoder for pairs of texts, load the best and let it write.

    python examples/03_write_for_a_text.py [TABLE]

TABLE is a csv, tsv or jsonl file with the columns source and target; without one, the first
sentence of a function's docstring becomes the function's name. About a minute on two cores. The
study stays in ./studies/pairs, and running the script again shows its result at once.
"""

import sys

import nas


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else "builtin:function-names"
    study = nas.search(
        "name_functions",  # the shipped study file, with less time
        name="pairs",
        overrides={"task.data": data, "stop.minutes": 0.75, "finalists.top": 1},
    )

    for group in study.finalists():
        who = "reference" if group.is_reference else f"#{group.rows[0].number}"
        print(
            f"{who:10} test loss {group.mean('test_loss'):.3f} nats a token, "
            f"chrF {group.mean('test_chrf'):.1f}, BLEU {group.mean('test_bleu'):.1f}"
        )

    model = nas.load(study)
    text = "Return True if the file exists."
    print(f"\n{text}\n-> {model.predict(text)}")


main()  # without a guard on __name__: workers do not import this script
