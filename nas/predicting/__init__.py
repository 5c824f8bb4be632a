"""Raw inputs in, labels, texts or items out: a trained network asked as its task trained it.

`classes` answers for texts and images, `texts` writes a text for a text, `items` ranks what comes
next in a history. Rows of a batch are of similar length and padded; an answer does not depend on
what else is in its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nas.errors import InputError
from nas.plugins import import_row

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer
    from torch import nn

    from nas.records import TaskSpec

# What answers, by head; of heads that several tasks share by head and task.
PREDICTORS: dict[str, str] = {
    "classify": "nas.predicting.classes:TextClassifier",
    "classify_image": "nas.predicting.classes:ImageClassifier",
    "seq2seq": "nas.predicting.texts:TextWriter",
    "causal_lm/sequential_recommendation": "nas.predicting.items:ItemRanker",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """A class or an item, and its probability among all of them."""

    label: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A model that is asked.

    Attributes:
        network: The family's module.
        spec: Its head, classes, context and special tokens.
        tokenizer: Its tokenizer or vocabulary of items; None for images.
        preprocessor: The content of its `preprocessor_config.json`; None for text.
        folder: Where these were read, for messages.
    """

    network: nn.Module
    spec: TaskSpec
    tokenizer: Tokenizer | None
    preprocessor: str | None
    folder: Path

    def need_tokenizer(self) -> Tokenizer:
        """Return the tokenizer, which encodes whole texts.

        Raises:
            InputError: If the model has none.
        """
        if self.tokenizer is None:
            raise InputError(
                "predict: this model has no tokenizer for raw inputs; call it with token ids"
            )
        return self.tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How answers are wanted (see `Model.predict`); messages count inputs from `first`."""

    batch: int = 32
    top_k: int | None = None
    exclude_seen: bool = True
    first: int = 1

    def __post_init__(self) -> None:
        for name in ("batch", "top_k"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(f"{name}: got {value!r}, expected an integer >= 1")


class Predictor(Protocol):
    """What answers for one kind of model; made from an `Asked`."""

    def __init__(self, asked: Asked) -> None: ...

    def is_one(self, inputs: Any) -> bool:
        """Say whether `inputs` is a single input rather than several."""
        ...

    def answers(self, inputs: Sequence[Any], wanted: Wanted) -> list[Any]:
        """Return an answer for each input, in their order."""
        ...


def predict(asked: Asked, inputs: Any, wanted: Wanted) -> Any:
    """Return the answer for an input, or a list of them for several (see `Model.predict`).

    Raises:
        InputError: If the model makes no predictions, or an input is wrong.
    """
    predictor = predictor_for(asked)
    is_one = predictor.is_one(inputs)
    try:
        several = [inputs] if is_one else list(inputs)
    except TypeError:
        raise InputError(
            f"predict: got {type(inputs).__name__}, expected an input or a list of them"
        ) from None
    with _evaluating(asked.network):
        found = predictor.answers(several, wanted)
    return found[0] if is_one else found


def predictor_for(asked: Asked) -> Predictor:
    """Return what answers for a model.

    Raises:
        InputError: If its task is none of predictions.
    """
    spec = asked.spec
    row = PREDICTORS.get(spec.head) or PREDICTORS.get(f"{spec.head}/{spec.task}")
    if row is None:
        raise InputError(
            f"a {spec.task} model goes on with a text: use generate (nas generate) instead of "
            "predict"
        )
    predictor: Predictor = import_row(row)(asked)
    return predictor


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Switch dropout and gradients off, and what was on before on again."""
    import torch

    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(was_training)
