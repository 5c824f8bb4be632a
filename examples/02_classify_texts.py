"""Search a classifier of texts, compare it with the reference, load it and ask it.

    python examples/02_classify_texts.py [TABLE]

TABLE is a csv, tsv or jsonl file with the columns text and label; without one, docstrings of the
standard library are put to their packages. Two to three minutes on two cores. The study stays in
./studies/texts, and running the script again shows its result at once.
"""

import sys

import torch

import nas


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else "builtin:docstrings"
    study = nas.search("classify_docstrings", name="texts", overrides={"task.data": data})

    for group in study.finalists():
        who = "reference" if group.is_reference else f"#{group.rows[0].number}"
        accuracy, f1 = group.mean("test_accuracy"), group.mean("test_macro_f1")
        print(f"{who:10} test accuracy {accuracy:.3f}, macro F1 {f1:.3f}")

    model = nas.load(study)
    text = "Return the elements of a list in sorted order, smallest first."
    model.tokenizer.enable_truncation(model.task_spec.context)
    ids = torch.tensor([model.tokenizer.encode(text).ids], device=model.device)
    with torch.no_grad():
        shares = model(ids, torch.ones_like(ids)).softmax(dim=-1)[0]
    print(f"\n{text}")
    for share, number in zip(*map(torch.Tensor.tolist, shares.topk(2)), strict=True):
        print(f"{share:6.1%} {model.task_spec.labels[number]}")


main()  # without a guard on __name__: workers do not import this script
