"""Sampling: one token after the other from a causal language model, of many texts at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nas.errors import InputError
from nas.records import TaskSpec

# Below this a temperature changes nothing more: logits in fp32 that differ do so by more.
COLDEST = 1e-8


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: Divides the logits; 0 or less takes the likeliest token.
        top_k: Only this many of the likeliest tokens; None: all.
        top_p: Only the likeliest tokens that together reach this probability; None: all. Source:
            Holtzman et al., "The Curious Case of Neural Text Degeneration", 2019.
        seed: The same seed gives the same text; None: another one each time.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.temperature):
            raise InputError(f"temperature: got {self.temperature!r}, expected a finite number")
        if self.top_k is not None and (type(self.top_k) is not int or self.top_k < 1):
            raise InputError(f"top_k: got {self.top_k!r}, expected an integer >= 1")
        if self.top_p is not None and not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise InputError(f"top_p: got {self.top_p!r}, expected a number above 0, at most 1")
        if self.seed is not None and (type(self.seed) is not int or not 0 <= self.seed < 1 << 63):
            raise InputError(f"seed: got {self.seed!r}, expected an integer >= 0")

    def generator(self) -> torch.Generator:
        """Return a fresh source of random numbers on the CPU, so that devices agree."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator

    def choose(self, logits_V: Tensor, generator: torch.Generator) -> int:
        """Return the next token's id from fp32 logits on the CPU."""
        if self.temperature <= 0:
            return int(logits_V.argmax())
        logits_V = (logits_V - logits_V.max()) / max(self.temperature, COLDEST)
        if self.top_k is not None and self.top_k < len(logits_V):
            least = logits_V.topk(self.top_k).values[-1]
            logits_V = logits_V.masked_fill(logits_V < least, float("-inf"))
        probabilities_V = logits_V.softmax(dim=0)
        if self.top_p is not None:
            probabilities_V = _nucleus(probabilities_V, self.top_p)
        return int(torch.multinomial(probabilities_V, 1, generator=generator))


@dataclass(kw_only=True, slots=True)
class _Text:
    """A text that is being written.

    Attributes:
        window: What of it the network sees, and the tokens that follow.
        generator: Its own random numbers, so that it is what it would be by itself.
        written: The new tokens.
        is_open: Whether more are wanted.
    """

    window: list[int]
    generator: torch.Generator
    written: list[int] = field(default_factory=list)
    is_open: bool = True


def generate_ids(
    network: nn.Module,
    prompts: Sequence[Sequence[int]],
    spec: TaskSpec,
    sampling: Sampling,
    limit: int,
) -> list[list[int]]:
    """Return for each prompt the new token ids up to the end token, which is the last, or `limit`.

    Keys and values of earlier tokens are kept. All texts are read from their beginnings at one
    pace: while a shorter prompt is written on, the longer ones are still read, so that nothing is
    padding. A text that outgrows the context goes on from its last half context, read anew: rotary
    positions were trained no further than the context.

    Args:
        network: A family's module, on any device.
        prompts: One at least, of at least one token id each.
        spec: Context and end token.
        sampling: How tokens are chosen.
        limit: Largest number of new tokens.
    """
    device = next(network.parameters()).device
    texts = [
        _Text(window=_seen(prompt, spec.context), generator=sampling.generator())
        for prompt in prompts
    ]
    read, past = min(len(text.window) for text in texts), None
    unread = [text.window[:read] for text in texts]
    while True:
        with torch.no_grad():  # not inference_mode: networks keep tables that training reads
            logits_BTV, past = network.step(torch.tensor(unread, device=device), past)  # type: ignore[operator]  # every family's module has it
        for text, logits_V in zip(texts, logits_BTV[:, -1].float().cpu(), strict=True):
            if len(text.window) == read:
                _write(text, logits_V, spec, sampling, limit)
        if not any(text.is_open for text in texts):
            return [text.written for text in texts]
        if read < spec.context:
            unread = [[text.window[read]] for text in texts]
            read += 1
        else:  # each has the context and a token
            for text in texts:
                text.window = _last_half(text.window, spec.context)
            unread, past = [text.window for text in texts], None
            read = len(unread[0])


def _write(text: _Text, logits_V: Tensor, spec: TaskSpec, sampling: Sampling, limit: int) -> None:
    """Append the next token; to a text that has ended, any, so that all keep one pace."""
    if not text.is_open:
        text.window.append(text.window[-1])
        return
    token = sampling.choose(logits_V, text.generator)
    text.window.append(token)
    text.written.append(token)
    text.is_open = token != spec.eos_token_id and len(text.written) < limit


def _seen(prompt: Sequence[int], context: int) -> list[int]:
    return list(prompt) if len(prompt) <= context else _last_half(prompt, context)


def _last_half(ids: Sequence[int], context: int) -> list[int]:
    return list(ids[-max(1, context // 2) :])


def _nucleus(probabilities_V: Tensor, top_p: float) -> Tensor:
    """Return the probabilities with all but the likeliest ones, `top_p` in sum, set to 0."""
    ordered, order = probabilities_V.sort(descending=True)
    before = ordered.cumsum(dim=0) - ordered
    before[0] = -1.0  # the likeliest one stays, however small `top_p` is in fp32
    return torch.zeros_like(ordered).scatter(0, order, ordered.where(before < top_p, 0.0))


def _is_number(value: object) -> bool:
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and math.isfinite(value)  # type: ignore[arg-type]  # a number here
