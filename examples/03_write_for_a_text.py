"""Search an encoder and a decoder for pairs of texts, load the best and let it write.

    python examples/03_write_for_a_text.py [TABLE]

TABLE is a csv, tsv or jsonl file with the columns source and target; without one, the first
sentence of a function's docstring becomes the function's name. Two to three minutes on two cores.
The study stays in ./studies/pairs, and running the script again shows its result at once.
"""

import sys

import torch

import nas
from nas.decoding import greedy_decode


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else "builtin:function-names"
    study = nas.search("name_functions", name="pairs", overrides={"task.data": data})

    for group in study.finalists():
        who = "reference" if group.is_reference else f"#{group.rows[0].number}"
        print(
            f"{who:10} test loss {group.mean('test_loss'):.3f} nats a token, "
            f"chrF {group.mean('test_chrf'):.1f}, BLEU {group.mean('test_bleu'):.1f}"
        )

    model = nas.load(study)
    text = "Return True if the file exists."
    model.tokenizer.enable_truncation(model.task_spec.context)
    ids = torch.tensor([model.tokenizer.encode(text).ids], device=model.device)
    [written] = greedy_decode(model.network, ids, None, model.task_spec, limit=20)
    print(f"\n{text}\n-> {model.tokenizer.decode(written)}")


main()  # without a guard on __name__: workers do not import this script
