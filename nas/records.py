"""The records that cross borders: plain, frozen, JSON in and JSON out, no torch.

What was sampled is what is built, stored and reloaded, because only these travel between the
search, the workers, the database and the model folders. Rules about values live with whoever
makes a record: a family checks shapes, `config` checks recipes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

ShapeValue = int | bool | float | str | tuple[int, ...]

# States of a candidate. "running" and "paused" go on; "interrupted" goes on when the search does.
STATES = (
    "running",
    "paused",
    "complete",
    "diverged",
    "oom",
    "timeout",
    "failed",
    "interrupted",
)
FAILED_STATES = frozenset({"diverged", "oom", "timeout", "failed"})

# Roles of a candidate. The search ranks "search"; "finalist" and "reference" are retrained from
# fresh seeds to be compared. The last two are trained beside the search when the user asks for it,
# and no search counts or ranks them: "own" shapes, and candidates "extended" to more tokens.
ROLES = ("search", "finalist", "reference", "own", "extended")
FINAL_ROLES = ("finalist", "reference")
BESIDE_ROLES = ("own", "extended")


# What a network takes, in this order, and returns. B batch, T and S tokens, C classes, V
# vocabulary; ids and masks are int64, a mask is 1 at tokens and 0 at padding.
#   causal_lm       ids (B, T)                                       logits (B, T, V)
#   classify        ids (B, T), mask (B, T)                          logits (B, C)
#   classify_image  pixels (B, channels, height, width), fp32        logits (B, C)
#   seq2seq         ids (B, S), mask (B, S), decoder ids (B, T)      logits (B, T, V)
HEADS = ("causal_lm", "classify", "classify_image", "seq2seq")
LONG_INPUTS = ("truncate", "truncate_left", "chunk")  # see `TaskSpec`
WRITING_HEADS = ("causal_lm", "seq2seq")  # one token after the other, from a key-value cache

# What is timed (see `measure`).
PHASES = ("prefill", "decode", "throughput")


MICRO_BATCH = "micro_batch"  # a metric of no split, where a batch was trained on in parts
UNCOOLED = "-uncooled.safetensors"  # ends the name of a checkpoint from before the cooldown
IGNORED = -100  # a target that no loss counts, as torch has it


def canonical_json(plain: Any) -> str:
    """Return the one JSON text of `plain`: sorted keys, no spaces, no NaN."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def short_hash(plain: Any) -> str:
    """Return the first 12 hex digits of the sha256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """A family's name and a shape in canonical form (see `families.architecture`).

    Canonical: fields at their default are left out and a per-layer list of equal numbers is one
    number, so that a field added later keeps the ids of today.
    """

    family: str
    shape: Mapping[str, ShapeValue]

    def __post_init__(self) -> None:
        tidy = {k: tuple(v) if isinstance(v, list) else v for k, v in sorted(self.shape.items())}
        object.__setattr__(self, "shape", MappingProxyType(tidy))

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def id(self) -> str:
        """The architecture id: 12 hex digits that only family and shape decide."""
        return short_hash(to_plain(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """What a model must fit: the task, its head and the sizes that the data decides.

    Attributes:
        task: Name of the task.
        head: What the network takes and returns, one of `HEADS`.
        vocab_size: Token ids; 0 for images.
        context: Longest input in tokens, of a decoder too; 1 for images.
        labels: Names of the classes, in the order of the logits.
        image_size: Height and width of images in pixels; 0 for text.
        n_channel: Numbers a pixel; 0 for text.
        bos_token_id: Begins a text, and what a decoder writes.
        eos_token_id: Ends a text.
        pad_token_id: Fills the shorter texts of a batch.
        long_inputs: What becomes of texts beyond the context: `truncate` keeps their beginning,
            `truncate_left` their end, `chunk` reads them in pieces and takes the mean logits.
        chunk_overlap: Tokens that a piece shares with the one before.
    """

    task: str
    head: str
    vocab_size: int
    context: int
    labels: tuple[str, ...] = ()
    image_size: int = 0
    n_channel: int = 0
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None
    long_inputs: str = "truncate"
    chunk_overlap: int = 0

    @property
    def n_class(self) -> int:
        """How many classes there are."""
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a candidate is trained, whatever its shape and however long."""

    context: int  # tokens an example
    batch: int  # examples a step
    rate: float  # base learning rate; hidden matrices get a width-aware share of it
    weight_decay: float = 0.1  # on matrices only
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0  # largest global norm of the gradient
    warmup_tokens: int = 0
    cooldown: float = 0.4  # share of the last rung's tokens over which the rate falls to 0
    dropout: float = 0.0  # share of each residual update
    token_dropout: float = 0.0  # share of an input's tokens that are hidden
    label_smoothing: float = 0.0  # share of each target that is spread over all classes
    class_weights: str = "none"  # or balanced: rare classes count more
    augment: str = "none"  # of images: flip, shift or shift_flip
    early_stop: int = 0  # measurements without a better one after which training ends; 0: never

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimizer step sees."""
        return self.context * self.batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """The unit that is trained, paused, resumed, stored, queried and loaded."""

    architecture: Architecture
    recipe: Recipe
    seed: int
    data_fingerprint: str
    budget: int | None = None  # tokens, where they are not its study's

    @property
    def id(self) -> str:
        """The candidate id: 12 hex digits that architecture, recipe, seed and data decide.

        A budget of its own makes it another candidate.
        """
        return short_hash(to_plain(self))

    @property
    def origin(self) -> str:
        """The id whatever the budget: these train alike until one of them cools down."""
        return dataclasses.replace(self, budget=None).id


@dataclass(frozen=True, kw_only=True, slots=True)
class Numerics:
    """How the arithmetic is done; chosen once a study and device kind, so that runs compare."""

    device: str  # cpu, cuda, cuda:1, mps
    precision: str  # fp32 or bf16 (autocast; weights and optimizer stay fp32)
    attention: str  # sdpa or bmm
    threads: int  # CPU threads of one worker


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencySpec:
    """What of a model is timed, and where (see `measure.measure_latency`)."""

    phase: str = "prefill"  # one of PHASES
    batch: int = 1
    context: int = 64
    device: str = "cpu"
    threads: int = 1  # CPU threads


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """The times of a number of equal passes, in milliseconds."""

    median_ms: float
    low_ms: float  # quartiles
    high_ms: float
    repeats: int
    items: int  # tokens of a model that writes, else examples, that a pass takes in

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics that a candidate gets: median, spread, and tokens or examples a second."""
        return {
            "latency_ms": self.median_ms,
            "latency_iqr_ms": self.high_ms - self.low_ms,
            "throughput": 1e3 * self.items / self.median_ms,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointRef:
    """Where a checkpoint lies and how to know that it is whole."""

    uri: str  # a path
    sha256: str
    bytes: int
    tokens: int  # how far training had come


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Take one candidate from its checkpoint (or from nothing) to a rung. Plain data."""

    study: str
    candidate: Candidate
    task_spec: TaskSpec
    data: str  # folder of the prepared data
    rungs: tuple[int, ...]  # tokens, ascending; the last one is the full budget
    rung: int  # index of the rung to reach
    numerics: Numerics
    eval_tokens: int  # of each split that the last measurement reads at most; earlier ones less
    splits: tuple[str, ...] = ("val",)  # measured at the last rung; earlier rungs read val only
    test_tokens: int | None = None  # of the test split; None: as many as were trained on
    checkpoint: CheckpointRef | None = None
    checkpoint_dir: str | None = None  # where checkpoints are written; None: none are
    keep_uncooled: bool = False  # also keep a checkpoint of the moment before the cooldown
    checkpoint_seconds: float = 60.0  # between two safety checkpoints within a rung
    model_dir: str | None = None  # where the finished model's folder goes; None: not kept
    objective: str = "val_loss"  # decides which weights `early_stop` returns to
    keep_better_than: float | None = None  # write the model folder only if the objective is better
    latency: LatencySpec | None = None  # measured when the job ends; None: it is not
    # Examples that a forward pass takes, whose gradients are summed to the batch's: less memory,
    # the same mathematics. None: the whole batch at once.
    micro_batch: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A sign of life from a running job."""

    candidate_id: str
    tokens: int
    train_loss: float | None  # mean since the curve's last point
    seconds: float  # since this job began
    val_loss: float | None = None  # at the last rung that it has passed, if it has passed one
    checkpoint: CheckpointRef | None = None  # a safety checkpoint just written
    # Of a job that says no more than this: it was begun with (not all executors tell); where it
    # stands, since it was asked to stop and has not.
    begun: bool = False
    where: str = ""

    @property
    def is_report(self) -> bool:
        """Whether it says how far the training has come."""
        return not self.begun and not self.where


def begun(candidate_id: str) -> Progress:
    """Return the report that a job was begun with."""
    return Progress(candidate_id=candidate_id, tokens=0, train_loss=None, seconds=0.0, begun=True)


def stuck(candidate_id: str, where: str) -> Progress:
    """Return the report of a job that was asked to stop and has not."""
    return Progress(candidate_id=candidate_id, tokens=0, train_loss=None, seconds=0.0, where=where)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One measurement of a candidate at a rung."""

    rung: int
    tokens: int
    seconds: float  # training time up to here, over all jobs of the candidate
    metrics: Mapping[str, Mapping[str, float]]  # split -> name -> value
    curve: tuple[tuple[int, float], ...] = ()  # (tokens, mean training loss since the last point)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a job ended."""

    candidate_id: str
    state: str  # one of STATES, never "running"
    tokens: int
    evaluations: tuple[Evaluation, ...] = ()
    checkpoint: CheckpointRef | None = None  # of a complete one: from before its cooldown
    model_saved: bool = False
    model_bytes: int = 0
    model_sha256: str = ""  # of nas.json as it was written; exports are noted there later
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds: build, train, eval, save
    error: str = ""
    traceback: str = ""
    lost: bool = False  # its worker died under it: this is told by the executor, not by the job
    note: str = ""  # worth a line to the user, such as a checkpoint that was damaged
    disk_fault: str = ""  # why the disk took no more, for which the search has to stop


Record = TypeVar("Record")
SCALARS = frozenset((int, float, str, bool, type(None)))  # that are plain as they are


def to_plain(record: Any) -> Any:
    """Return `record` as dicts, lists and scalars; fields at their default are left out."""
    if type(record) in SCALARS:  # most of what there is: a curve is a hundred numbers
        return record
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {
            f.name: to_plain(getattr(record, f.name))
            for f in dataclasses.fields(record)
            if not _is_default(f, getattr(record, f.name))
        }
    if isinstance(record, Mapping):
        return {str(key): to_plain(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [to_plain(value) for value in record]
    return record


def from_plain(kind: type[Record], plain: Any) -> Record:
    """Rebuild a record of `kind` from what `to_plain` returned.

    Raises:
        TypeError: If a field is unknown or missing, or a value has the wrong type.
    """
    return typing.cast(Record, _convert(kind, plain, kind.__name__))


def _is_default(f: dataclasses.Field[Any], value: Any) -> bool:
    if f.default is not dataclasses.MISSING:
        return bool(value == f.default)
    if f.default_factory is not dataclasses.MISSING:
        return bool(value == f.default_factory())
    return False


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _convert_record(kind, value, where)
    if kind is ShapeValue:
        return _shape_value(value, where)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(kind, value, where)
    if origin is tuple:
        return _convert_tuple(typing.get_args(kind), value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise TypeError(f"{where}: expected a mapping, got {type(value).__name__}")
        item = typing.get_args(kind)[1]
        return {str(k): _convert(item, v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{where}: expected {kind.__name__}, got {type(value).__name__}")
    return value


def _convert_record(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"{where}: expected a mapping, got {type(value).__name__}")
    hints = _hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise TypeError(f"{where}: unknown field '{unknown[0]}'")
    for f in dataclasses.fields(kind):
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and f.name not in value:
            raise TypeError(f"{where}: missing field '{f.name}'")
    return kind(**{k: _convert(hints[k], v, f"{where}.{k}") for k, v in value.items()})


def _convert_union(kind: Any, value: Any, where: str) -> Any:
    options = typing.get_args(kind)
    if value is None and type(None) in options:
        return None
    errors = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert(option, value, where)
        except TypeError as error:
            errors.append(str(error))
    raise TypeError("; ".join(errors))


def _convert_tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{where}: expected a list, got {type(value).__name__}")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_convert(items[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if len(items) != len(value):
        raise TypeError(f"{where}: expected {len(items)} values, got {len(value)}")
    return tuple(
        _convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(items, value, strict=True))
    )


def _shape_value(value: Any, where: str) -> ShapeValue:
    if isinstance(value, (list, tuple)):
        return _convert_tuple((int, Ellipsis), value, where)
    if isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{where}: expected a number, text or list, got {type(value).__name__}")
