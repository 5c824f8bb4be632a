"""What TensorFlow alone makes of exported models: `python tests/saved_model_alone.py FOLDER`.

Prints the largest difference of logits for each as one line of JSON (see `keras_alone`).
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file


def difference(folder, paths):
    saved, worst = tf.saved_model.load(str(folder)), 0.0
    for path in paths:
        tensors = {name: tf.constant(array) for name, array in load_file(path).items()}
        logits = tensors.pop("logits")
        found = saved.serve(tensors if len(tensors) > 1 else next(iter(tensors.values())))
        worst = max(worst, float(np.abs(found - logits).max()))
    return worst


place = Path(sys.argv[1])
found = {
    saved.parent.name: difference(saved, (place / "inputs" / saved.parent.name).iterdir())
    for saved in place.glob("saved/*/saved_model")
}
assert "nas" not in sys.modules
print(json.dumps(found))
