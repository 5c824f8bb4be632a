"""To TensorFlow: a Keras model that can be trained, and a SavedModel that TensorFlow alone runs.

Both are written from the model's weights and both are compared with it. Beside them stands what a
user of either needs to know of the task: labels, context, special tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nas.errors import ExportError, ParityError
from nas.exporters.packages import need_packages
from nas.records import TaskSpec, from_plain, to_plain

if TYPE_CHECKING:
    from nas.model import Model

Logits = NDArray[np.float32]

KERAS_FILE = "model.keras"
SAVED_MODEL = "saved_model"
TASK_FILE = "task.json"


class TensorFlowExporter:
    """Writes `model.keras` and `saved_model/`; opens both."""

    bound: ClassVar[float] = 1e-4

    def __init__(self) -> None:
        need_packages("tensorflow", "tensorflow", "tensorflow", "keras")
        import nas.keras  # noqa: F401  # refuses another backend, before anything is loaded

    def refuse(self, model: Model) -> None:
        """Raise where the family has no Keras model."""
        from nas.keras.weights import FAMILIES

        if model.architecture.family not in FAMILIES:
            raise ExportError(
                f"export to tensorflow: family '{model.architecture.family}' has no Keras model; "
                f"those that have: {', '.join(FAMILIES)}"
            )

    def write(self, model: Model, folder: Path) -> None:
        """Write both forms."""
        from nas.keras.weights import empty_model, fill_model

        weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
        made = fill_model(empty_model(model.architecture, model.task_spec), weights)
        made.save(folder / KERAS_FILE)
        made.export(folder / SAVED_MODEL, verbose=False)
        task = json.dumps(to_plain(model.task_spec), indent=2)
        (folder / TASK_FILE).write_text(task + "\n", encoding="utf-8")

    def open(self, folder: Path) -> TensorFlowRunner:
        """Open both forms.

        Raises:
            ParityError: If one cannot be opened.
        """
        import keras
        import tensorflow as tf

        try:
            made = keras.saving.load_model(folder / KERAS_FILE, compile=False)
            served = tf.saved_model.load(str(folder / SAVED_MODEL))
            spec = from_plain(TaskSpec, json.loads((folder / TASK_FILE).read_bytes()))
        except (OSError, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
            line = " ".join(str(error).split())
            raise ParityError(f"export to tensorflow: cannot be opened ({line})") from error
        return TensorFlowRunner(made, served, spec)


class TensorFlowRunner:
    """The Keras model and the SavedModel, which must agree."""

    def __init__(self, made: Any, served: Any, spec: TaskSpec) -> None:
        self._made, self._served, self._spec = made, served, spec

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Logits:
        """Return the SavedModel's logits.

        Raises:
            ParityError: If the Keras model's are others.
        """
        from nas.keras.weights import call_model

        logits, theirs = self._serve(inputs), call_model(self._made, inputs)
        worst = float(np.abs(logits - theirs).max())
        if not worst <= TensorFlowExporter.bound:  # also where it is no number
            raise ParityError(
                f"export to tensorflow: logits of {KERAS_FILE} and {SAVED_MODEL} differ by "
                f"{worst:.2g}, allowed is {TensorFlowExporter.bound:g}"
            )
        return logits

    def greedy(self, ids: list[int], n: int) -> list[int]:
        """Return the likeliest next tokens; nothing is cached between them."""
        begin, source = self._spec.bos_token_id, np.array([ids])
        written = list(ids)
        if self._spec.head == "seq2seq":
            assert begin is not None, "the model's own greedy decoding asks for it too"
            written = [begin]
        begun = len(written)
        for _ in range(n):
            inputs = {"ids": np.array([written])}
            if self._spec.head == "seq2seq":
                inputs = {"ids": source, "mask": np.ones_like(source), "decoder_ids": inputs["ids"]}
            written.append(int(self._serve(inputs)[0, -1].argmax()))
        return written[begun:]

    def _serve(self, inputs: Mapping[str, NDArray[Any]]) -> Logits:
        import tensorflow as tf

        given = {name: tf.constant(value) for name, value in inputs.items()}
        logits = self._served.serve(given if len(given) > 1 else next(iter(given.values())))
        return np.asarray(logits.numpy(), np.float32)
