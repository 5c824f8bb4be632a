"""Export a winner to ONNX and TensorFlow, and let onnxruntime write with it.

    pip install "transformer-nas[onnx,tensorflow]"
    python examples/14_export.py [STUDY_OR_MODEL_FOLDER]

Without an argument, examples/small.yaml is searched, which takes half a minute the first time.
Each export is opened in its own runtime and compared with the model before it is put in place. A
format whose packages are missing is left out, with the line that installs them.
"""

import sys
from pathlib import Path

import numpy as np

import nas

SMALL = Path(__file__).with_name("small.yaml")
LENGTH = 60


def write(file: Path, ids: list[int]) -> list[int]:
    """Return the likeliest tokens after a prompt, by onnxruntime and its key-value cache alone."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    outputs = [output.name for output in session.get_outputs()]
    past = {
        given.name: np.zeros((1, given.shape[1], 0, given.shape[3]), np.float32)
        for given in session.get_inputs()
        if given.name.startswith("past_key_values")
    }
    written, following = [], np.array([ids], dtype=np.int64)
    for _ in range(LENGTH):
        logits, *present = session.run(outputs, {"input_ids": following, **past})
        past = {
            name.replace("present", "past_key_values"): value
            for name, value in zip(outputs[1:], present, strict=True)
        }
        following = logits[:, -1:].argmax(axis=-1)
        written.append(int(following[0, 0]))
    return written


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else nas.search(SMALL)

    done = {}
    for target in ("onnx", "tensorflow"):
        try:
            done[target] = nas.export(what, target)
        except nas.NasError as error:
            print(f"{target}: not written; {error}")
        else:
            found = done[target]
            print(f"{target}: {found.bytes / 1e6:.1f} MB in {found.path}")
            print(f"    logits differ by {found.difference:.1e} at most, of {found.bound:.0e}")

    model = nas.load(what, device="cpu")
    if "onnx" in done and model.task_spec.head == "causal_lm":
        prompt = "The "
        written = write(done["onnx"].path / "model.onnx", model.tokenizer.encode(prompt).ids)
        print("\nwritten by onnxruntime:", prompt + model.tokenizer.decode(written))
        print(
            "written by torch:      ", model.generate(prompt, max_new_tokens=LENGTH, temperature=0)
        )


main()  # without a guard on __name__: workers do not import this script
