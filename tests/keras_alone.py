"""What Keras makes of model folders, run by an environment without torch (see `test_keras`).

    python tests/keras_alone.py FOLDER

FOLDER holds `models/NAME/`, `inputs/NAME/*.safetensors` (inputs and the model's logits) and
`broken/NAME/`. Prints what was found as one line of JSON and leaves `saved/NAME/`.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import nas
from nas.errors import NasError

HAS_HUB = find_spec("keras_hub") is not None


def difference(run, cases):
    """The largest difference of logits over all stored inputs."""
    return max(float(np.abs(run(inputs) - logits).max()) for inputs, logits in cases)


def read_case(path):
    """A stored input, by name or alone, and its logits."""
    tensors = load_file(path)
    logits = tensors.pop("logits")
    return (tensors if len(tensors) > 1 else next(iter(tensors.values()))), logits


def examine(folder, cases, saved):
    import keras

    saved.mkdir(parents=True)
    model = nas.load_keras(folder, verify=True)
    found = {"loaded": difference(lambda given: np.asarray(model(given)), cases)}
    model.save(saved / "model.keras")
    again = keras.saving.load_model(saved / "model.keras")
    found["reopened"] = difference(lambda given: np.asarray(again(given)), cases)
    if folder.name.endswith("-constants"):  # the rest is as with others, and takes seconds
        return found
    model.export(saved / "saved_model", verbose=False)
    return found | {"losses": fit(model, *cases[0])}


def fit(model, inputs, logits):
    """Losses of a few epochs towards labels that are not the model's."""
    import keras

    labels = (logits.argmax(axis=-1) + 1) % logits.shape[-1]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Compiled by XLA, the default, each would take ten seconds longer to begin; one is enough.
    jit = "auto" if model.name == "gpt2" else False
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=jit)
    return model.fit(inputs, labels, epochs=4, verbose=0).history["loss"]


def refusal(folder):
    try:
        nas.load_keras(folder)
    except NasError as error:
        return str(error)
    return None


def examine_hub(folder, cases):
    """What we and KerasHub, if it is here, make of a folder."""
    model = nas.load_keras(folder)
    ours = difference(lambda given: np.asarray(model(given)), cases)
    return {"ours": ours, "hub": by_keras_hub(folder, cases) if HAS_HUB else None}


def by_keras_hub(folder, cases):
    import keras_hub

    backbone = keras_hub.models.Backbone.from_preset(str(folder))

    def logits(ids):
        hidden = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})
        return np.asarray(backbone.token_embedding(hidden, reverse=True))

    return difference(logits, cases)


def main(place):
    found = {"models": {}, "hub": {}}
    for folder in sorted((place / "models").iterdir()):
        paths = sorted((place / "inputs" / folder.name).iterdir())
        cases = [read_case(path) for path in paths]
        if folder.name.startswith("hub_"):
            found["hub"][folder.name] = examine_hub(folder, cases)
        else:
            found["models"][folder.name] = examine(folder, cases, place / "saved" / folder.name)
    found["refused"] = {path.name: refusal(path) for path in (place / "broken").iterdir()}
    found["modules"] = sorted({"torch", "optuna", "sqlalchemy"}.intersection(sys.modules))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
