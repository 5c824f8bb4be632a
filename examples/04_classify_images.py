"""Search a vision Transformer, load the best and look at what it takes a picture for.

    pip install "transformer-nas[vision]"
    python examples/04_classify_images.py [FOLDER]

FOLDER holds a folder of square pictures for each class (or is an npz file, or a folder of IDX
files); without one, handwritten digits are read. Two to three minutes on two cores. The study
stays in ./studies/images, and running the script again shows its result at once.
"""

import sys

import torch

import nas
from nas.data import PreparedData


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else "builtin:digits"
    study = nas.search("digits", name="images", overrides={"task.data": data})

    for group in study.finalists():
        who = "reference" if group.is_reference else f"#{group.rows[0].number}"
        print(f"{who:10} test accuracy {group.mean('test_accuracy'):.3f}")

    model = nas.load(study)
    image = PreparedData.open(study.folder / "data").array("test.pixels")[0]  # bytes, (H, W, C)
    pixels = torch.tensor(image).permute(2, 0, 1)[None] / 127.5 - 1  # as preprocessor_config.json
    with torch.no_grad():
        shares = model(pixels.to(model.device)).softmax(dim=-1)[0]
    print()
    for row in image.mean(axis=2):
        print("".join(" .:-=+*#%@"[int(value) * 10 // 256] * 2 for value in row))
    for share, number in zip(*map(torch.Tensor.tolist, shares.topk(2)), strict=True):
        print(f"{share:6.1%} {model.task_spec.labels[number]}")


main()  # without a guard on __name__: workers do not import this script
