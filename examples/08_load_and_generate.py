"""Load a winner, check it, and let it write in several ways.

    python examples/08_load_and_generate.py [STUDY_OR_MODEL_FOLDER]

Without an argument, examples/small.yaml is searched, which takes half a minute the first time.
"""

import sys
from pathlib import Path

import torch

import nas

SMALL = Path(__file__).with_name("small.yaml")


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else nas.search(SMALL)

    model = nas.load(what, verify=True)  # every file's hash and a stored input's logits agree
    print(model, f"\nin {model.folder}")
    for split, metrics in model.metrics.items():
        print(f"{split:5}", ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))

    prompt = "The function "
    print("\nThe likeliest:", model.generate(prompt, max_new_tokens=60, temperature=0))
    print("\nDrawn:", model.generate(prompt, max_new_tokens=60, temperature=0.8, top_k=20, seed=1))
    print(
        "\nTwo at once:", *model.generate([prompt, "A class "], max_new_tokens=30, seed=1), sep="\n"
    )

    ids = torch.tensor([model.tokenizer.encode(prompt).ids], device=model.device)
    with torch.no_grad():
        likeliest = model(ids)[0, -1].softmax(dim=-1).topk(3)  # it is an ordinary torch module
    print("\nAfter it comes:")
    for share, token in zip(*map(torch.Tensor.tolist, likeliest), strict=True):
        print(f"{share:6.1%} {model.tokenizer.decode([token])!r}")


main()  # without a guard on __name__: workers do not import this script
