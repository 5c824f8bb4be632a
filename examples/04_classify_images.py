"""Search a vision Transformer, load the best and look at what it takes a picture for.

    pip install "transformer-nas[vision]"
    python examples/04_classify_images.py [FOLDER]

FOLDER holds a folder of square pictures for each class (or is an npz file, or a folder of IDX
files); without one, handwritten digits are read. About a minute on two cores. The study stays in
./studies/images, and running the script again shows its result at once.
"""

import sys

import nas
from nas.data import PreparedData


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else "builtin:digits"
    study = nas.search(
        "digits",  # the shipped study file, with less time
        name="images",
        overrides={"task.data": data, "stop.minutes": 0.75, "finalists.top": 1},
    )

    for group in study.finalists():
        who = "reference" if group.is_reference else f"#{group.rows[0].number}"
        print(f"{who:10} test accuracy {group.mean('test_accuracy'):.3f}")

    model = nas.load(study)
    image = PreparedData.open(study.folder / "data").array("test.pixels")[0]  # bytes, (H, W, C)
    print()
    for row in image.mean(axis=2):
        print("".join(" .:-=+*#%@"[int(value) * 10 // 256] * 2 for value in row))
    for answer in model.predict(image, top_k=2):  # also a path, or a picture of Pillow
        print(f"{answer.score:6.1%} {answer.label}")


main()  # without a guard on __name__: workers do not import this script
