"""The parity gate, one for all targets: an export must compute what its model computes.

Shapes: B batch, T and S tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.artifact.golden import golden_inputs
from nas.decoding import greedy_decode
from nas.errors import ParityError
from nas.generation import Sampling, generate_ids
from nas.records import WRITING_HEADS, TaskSpec

if TYPE_CHECKING:
    from nas.exporters import Exporter, Runner
    from nas.model import Model

GREEDY_TOKENS = 16  # written for comparison, fewer where the context is shorter


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """What the gate found.

    Attributes:
        difference: The largest difference of logits over all inputs.
        bound: The largest that passes.
        greedy_tokens: Tokens written and compared.
        same_tokens: How many of them were equal from the first one on.
    """

    difference: float
    bound: float
    greedy_tokens: int = 0
    same_tokens: int = 0

    @property
    def passed(self) -> bool:
        """Whether the export computes what the model computes."""
        return self.difference <= self.bound and self.same_tokens == self.greedy_tokens

    def check(self, target: str) -> None:
        """Raise unless it passed.

        Raises:
            ParityError: With what differed and by how much.
        """
        if self.difference > self.bound or math.isnan(self.difference):
            raise ParityError(
                f"export to {target}: logits differ by {self.difference:.2g}, "
                f"allowed is {self.bound:g}"
            )
        if not self.passed:
            raise ParityError(
                f"export to {target}: of {self.greedy_tokens} greedy tokens only the first "
                f"{self.same_tokens} are the model's; logits differ by {self.difference:.2g}"
            )


def compare(exporter: Exporter, runner: Runner, model: Model) -> Parity:
    """Run an opened export beside its model.

    Args:
        exporter: Gives the bound.
        runner: What it opened.
        model: On the CPU, in fp32 and eval mode.
    """
    worst = 0.0
    for inputs in gate_inputs(model.task_spec):
        worst = _larger(worst, _difference(runner, model, inputs))
    found = Parity(difference=worst, bound=exporter.bound)
    greedy = getattr(runner, "greedy", None)
    if greedy is None or model.task_spec.head not in WRITING_HEADS:
        return found
    ids, count = _prompt(model.task_spec)
    ours, theirs = greedy_tokens(model, ids, count), [int(token) for token in greedy(ids, count)]
    same = next((i for i in range(count) if ours[i : i + 1] != theirs[i : i + 1]), count)
    return replace(found, greedy_tokens=count, same_tokens=same)


def gate_inputs(spec: TaskSpec) -> list[dict[str, Tensor]]:
    """Return the golden input, another batch of another length, and one of a single token.

    Masks differ between the rows of a batch.
    """
    golden = golden_inputs(spec)
    if spec.head == "classify_image":
        ramp = torch.arange(3 * golden["pixels"].numel(), dtype=torch.float32)
        return [golden, {"pixels": torch.cos(ramp).view(3, *golden["pixels"].shape[1:])}]
    length = golden["ids"].shape[1]
    other = min(spec.context, 2 * length + 1) if spec.context > length else max(1, length - 3)
    return [golden, _texts(spec, 3, other), _texts(spec, 1, 1)]


def greedy_tokens(model: Model, ids: list[int], count: int) -> list[int]:
    """Return the `count` likeliest next ids by our own cache; an end token ends nothing."""
    spec, network = replace(model.task_spec, eos_token_id=None), model.network
    if spec.head == "seq2seq":
        return greedy_decode(network, torch.tensor([ids]), None, spec, limit=count)[0]
    return generate_ids(network, [ids], spec, Sampling(temperature=0.0), count)[0]


def _texts(spec: TaskSpec, rows: int, length: int) -> dict[str, Tensor]:
    ids = (torch.arange(rows * length).view(rows, length) * 7 + 1) % spec.vocab_size
    if spec.head == "causal_lm":
        return {"ids": ids}
    mask = torch.ones_like(ids)
    for row in range(rows):
        mask[row, max(1, length - row) :] = 0
    inputs = {"ids": ids, "mask": mask}
    if spec.head == "seq2seq":
        inputs["decoder_ids"] = ids.flip(1)[:, : length // 2 + 1].contiguous()
    return inputs


def _prompt(spec: TaskSpec) -> tuple[list[int], int]:
    """Return ids to write for or after, and how many to write: together within the context."""
    length = max(1, min(5, spec.context // 2))
    ids: list[int] = _texts(spec, 1, length)["ids"][0].tolist()
    taken = 1 if spec.head == "seq2seq" else length
    return ids, max(1, min(GREEDY_TOKENS, spec.context - taken))


def _difference(runner: Runner, model: Model, inputs: dict[str, Tensor]) -> float:
    """Return the largest difference of logits; infinite where they are not of one shape."""
    with torch.no_grad():
        ours: NDArray[np.float32] = model.network(*inputs.values()).numpy()
    theirs = np.asarray(runner.run({name: value.numpy() for name, value in inputs.items()}))
    if ours.shape != theirs.shape:
        return math.inf
    return float(np.abs(ours - theirs).max())


def _larger(first: float, second: float) -> float:
    """Return the larger number; not a number is the largest."""
    return second if math.isnan(second) or second > first else first
