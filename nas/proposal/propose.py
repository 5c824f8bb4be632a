"""Choose space, vocabulary, split, recipe and budget for what was seen, a machine and a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.config import BudgetConfig, FinalistsConfig
from nas.data.request import OptionValue
from nas.data.splits import Split
from nas.driver.estimate import FORWARD_SHARE
from nas.driver.opening import MIN_EVAL_TOKENS
from nas.driver.pace import FIXED_FLOPS
from nas.errors import DataError
from nas.proposal.machine import Machine
from nas.proposal.sight import Sight
from nas.records import TaskSpec
from nas.space import load_space
from nas.strategies.halving import FIRST_FULL
from nas.tasks import task_class
from nas.training.schedule import STOP_CHECKS, rung_eval_tokens

TEXT, LABELLED, PAIRS = "language_modeling", "text_classification", "sequence_to_sequence"
IMAGES, LOG = "image_classification", "sequential_recommendation"

# Spaces of each task, the smaller first; the last one of text is for a GPU.
SPACES: Mapping[str, tuple[str, ...]] = {
    TEXT: ("llama_tiny", "llama_small", "llama_base"),
    LABELLED: ("modernbert_tiny", "modernbert_small"),
    PAIRS: ("blenderbot_tiny", "blenderbot_small"),
    IMAGES: ("vit_tiny", "vit_small"),
    LOG: ("llama_items",),
}
# A space is worth its time if its reference can be trained on so many tokens a parameter; below
# that a smaller one gets further.
TOKENS_PER_PARAM = 2
SMALL_SIDE = 16  # pixels; the patches of vit_small are for larger images

BATCH = {TEXT: 8, LABELLED: 16, PAIRS: 16, IMAGES: 32, LOG: 16}
# At most so many passes over the training data: more of them learn by heart.
PASSES = {TEXT: 10, LABELLED: 30, PAIRS: 20, IMAGES: 40, LOG: 60}
LEAST_STEPS = 20

USED = 0.85  # of the minutes that go into training; the rest is starts, waits and the last ones
AIM = 24  # candidates that there should be time for
LIMIT = 40  # candidates at most
PAUSED_SHARE = 0.5  # of a full training, the mean where two thirds are paused at a quarter
LONG_SEARCH = 15  # minutes from which finals are of three shapes and three seeds

# Tokens of a learned vocabulary by the bytes of text, and how many bytes one stands for.
VOCABULARIES = ((1e5, 500, 2.2), (1e6, 1000, 2.8), (2e7, 2000, 3.3), (math.inf, 4096, 3.8))
BPE_FROM = 2e7  # bytes of running text from which a learned vocabulary pays, on a GPU
CONTEXTS = (16, 32, 64, 128, 256)
TEXT_CONTEXT = {"cpu": 64, "mps": 128, "cuda": 256}
BYTE_VOCABULARY = 257
WITHIN = 0.9  # of the inputs that fit into the context


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What a study file is to say.

    Attributes:
        sight: The data.
        machine: That the budget is for.
        minutes: Of the whole search.
        space: Its name.
        options: Of the task.
        split: Shares.
        recipe: Fields that are not as usual, or that a user changes first.
        objective: What is searched for.
        unit: `tokens` or `examples`.
        amount: Of them for each candidate.
        passes: Over the training data that this is.
        finalists: The finals.
        candidates: At most.
    """

    sight: Sight
    machine: Machine
    minutes: float
    space: str
    options: Mapping[str, OptionValue]
    split: Split
    recipe: Mapping[str, float | int | str]
    objective: str
    unit: str
    amount: int
    passes: float
    finalists: FinalistsConfig
    candidates: int = LIMIT
    notes: tuple[str, ...] = field(default=())


def propose(sight: Sight, machine: Machine, minutes: float) -> Proposal:
    """Return a study that fits the data, and the machine within some minutes.

    Args:
        sight: What is in the data.
        machine: Where the search will run.
        minutes: Of the whole search.

    Raises:
        DataError: If there is too little data for a split.
    """
    options, context = _options(sight, machine), _context(sight, machine)
    split, finalists = _split(sight), _finalists(minutes)
    spec = _spec(sight, options, context)
    work = _work_each(machine, minutes, finalists)
    space = _space(sight, machine, spec, work)
    tokens, stops = _tokens(sight, split, spec, space, work)
    each = 1 if sight.task == TEXT else context
    train = max(1.0, _train_share(sight, split) * _count(sight))
    amount = min(tokens / each, PASSES[sight.task] * train)
    amount = _rounded(max(amount, LEAST_STEPS * BATCH[sight.task] * (context if each == 1 else 1)))
    return Proposal(
        sight=sight,
        machine=machine,
        minutes=minutes,
        space=space,
        options=options,
        split=split,
        recipe=_recipe(sight, context, stops=stops),
        objective=_objective(sight),
        unit="tokens" if sight.task == TEXT else "examples",
        amount=amount,
        passes=amount / train,
        finalists=finalists,
    )


def _options(sight: Sight, machine: Machine) -> dict[str, OptionValue]:
    options = dict(sight.options)
    if sight.task in (LABELLED, PAIRS):
        options["vocab_size"] = _vocabulary(sight.bytes)[0]
    if sight.task == TEXT:
        learned = sight.bytes >= BPE_FROM and machine.device != "cpu"
        options["tokenizer"] = "bpe" if learned else "bytes"
        if learned:
            options["vocab_size"] = _vocabulary(sight.bytes)[0]
    return options


def _vocabulary(size: int) -> tuple[int, float]:
    """Return tokens of a learned vocabulary, and bytes a token, for so many bytes of text."""
    return next((tokens, each) for limit, tokens, each in VOCABULARIES if size <= limit)


def _context(sight: Sight, machine: Machine) -> int:
    if sight.task == IMAGES:
        return 1
    if sight.task == TEXT:
        usual = TEXT_CONTEXT[machine.device.partition(":")[0]]
        # A tenth of the text, val, is several contexts long.
        return max(
            size
            for size in (CONTEXTS[0], *CONTEXTS)
            if size <= max(16, usual) and (size == CONTEXTS[0] or sight.bytes >= 40 * size)
        )
    longest: float = sight.length_within(WITHIN)
    if sight.task != LOG:
        longest = longest / _vocabulary(sight.bytes)[1] + 2  # its special tokens
    return next((size for size in CONTEXTS if size >= longest), CONTEXTS[-1])


def _split(sight: Sight) -> Split:
    """Return shares by size: a split of some hundred examples tells what one of millions does."""
    if sight.task == TEXT:
        return _shares(0.01 if sight.bytes > 50e6 else 0.1)
    if sight.examples < 3:
        raise DataError(f"{sight.words}: too few for train, val and test")
    for limit, share in ((300, 0.2), (3_000, 0.15), (200_000, 0.1)):
        if sight.examples < limit:
            return _shares(share)
    return _shares(0.02)


def _shares(share: float) -> Split:
    return Split(train=round(1 - 2 * share, 2), val=share, test=share)


def _finalists(minutes: float) -> FinalistsConfig:
    few = minutes < LONG_SEARCH
    return FinalistsConfig(top=2, seeds=2) if few else FinalistsConfig(top=3, seeds=3)


def _spec(sight: Sight, options: Mapping[str, OptionValue], context: int) -> TaskSpec:
    """Return about what a model will have to fit, as far as its cost depends on it."""
    vocabulary = int(options.get("vocab_size", sight.items + 1 or BYTE_VOCABULARY))
    if options.get("tokenizer") == "bytes":
        vocabulary = BYTE_VOCABULARY
    is_image = sight.task == IMAGES
    return TaskSpec(
        task=sight.task,
        head=task_class(sight.task).head,
        vocab_size=0 if is_image else vocabulary,
        context=context,
        labels=tuple(sight.classes),
        image_size=sight.image_side,
        n_channel=3 if is_image else 0,
    )


def _work_each(machine: Machine, minutes: float, finalists: FinalistsConfig) -> float:
    """Return the FLOPs of a candidate, fixed ones included, so that enough of them fit."""
    finals = (finalists.top + 1) * finalists.seeds
    trainings = FIRST_FULL + (AIM - FIRST_FULL) * PAUSED_SHARE + finals
    return minutes * 60 * machine.slots * USED * machine.flops_per_second / trainings


def _space(sight: Sight, machine: Machine, spec: TaskSpec, work: float) -> str:
    """Return the largest space whose reference can be trained enough."""
    spaces = SPACES[sight.task]
    if sight.task == IMAGES:
        return spaces[sight.image_side > SMALL_SIDE]
    if sight.task == TEXT and (machine.device == "cpu" or spec.vocab_size == BYTE_VOCABULARY):
        spaces = spaces[:2]
    if sight.task == TEXT and spec.vocab_size > BYTE_VOCABULARY:
        spaces = spaces[-1:]  # the others count their embeddings for bytes
    for name in reversed(spaces[1:]):
        columns = _reference(name, spec, sight.task)
        tokens = TOKENS_PER_PARAM * columns["non_embedding_params"]
        if work >= tokens * columns["train_flops_per_token"]:
            return name
    return spaces[0]


def _reference(space: str, spec: TaskSpec, task: str) -> dict[str, float]:
    """Return what the reference shape of a shipped space costs."""
    found = load_space(space)
    assert found.reference is not None, "every shipped space has one"
    return found.bind(spec, context=spec.context, batch=BATCH[task]).columns(found.reference)


def _tokens(
    sight: Sight, split: Split, spec: TaskSpec, space: str, work: float
) -> tuple[float, bool]:
    """Return the tokens of a candidate, and whether there is time to stop early by validations."""
    cost = _reference(space, spec, sight.task)["train_flops_per_token"] + FIXED_FLOPS
    tokens = work / cost
    val = split.val * _count(sight) * (1 if sight.task == TEXT else spec.context)
    most = round(min(max(MIN_EVAL_TOKENS, tokens / 10), val))
    *before, full = BudgetConfig().amounts
    rungs = [round(tokens * amount / full) for amount in before]
    measured = sum(rung_eval_tokens(rung, most) for rung in rungs) + most
    checks = STOP_CHECKS * most * FORWARD_SHARE
    stops = sight.task in (LABELLED, IMAGES, LOG) and checks <= tokens / 2
    left = tokens - measured * FORWARD_SHARE - (checks if stops else 0)
    return max(left, tokens / 4), stops


def _count(sight: Sight) -> int:
    return sight.bytes if sight.task == TEXT else sight.examples


def _train_share(sight: Sight, split: Split) -> float:
    return 1.0 if sight.task == LOG or sight.is_split else split.train


def _recipe(sight: Sight, context: int, *, stops: bool) -> dict[str, float | int | str]:
    recipe: dict[str, float | int | str] = {}
    if sight.task != IMAGES:
        recipe["context"] = context
    recipe |= {"batch": BATCH[sight.task], "rate": "auto"}
    little = sight.examples < 3_000
    if sight.task != TEXT:
        recipe["dropout"] = {PAIRS: 0.1, LOG: 0.2}.get(sight.task, 0.2 if little else 0.1)
    if sight.task in (LABELLED, LOG):
        recipe["token_dropout"] = 0.1
    if sight.task == PAIRS:
        recipe["label_smoothing"] = 0.1
    if sight.is_unbalanced:
        recipe["class_weights"] = "balanced"
    if sight.task == IMAGES:
        recipe["augment"] = "none"
    if sight.task in (LABELLED, IMAGES, LOG):
        recipe["early_stop"] = 6 if stops else 0
    return recipe


def _objective(sight: Sight) -> str:
    if sight.is_unbalanced:
        return "val_macro_f1"
    return {LABELLED: "val_accuracy", IMAGES: "val_accuracy", LOG: "val_ndcg_10"}.get(
        sight.task, "val_loss"
    )


def _rounded(number: float) -> int:
    """Return a number with two digits, rounded down."""
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return int(number // unit * unit)
