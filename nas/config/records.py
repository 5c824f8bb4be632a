"""What a study file says, as frozen records; their values are checked by `parse`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas.data.request import DataRequest, OptionValue
from nas.data.sources import is_builtin
from nas.data.splits import Split
from nas.records import LatencySpec, Recipe
from nas.space import SearchSpace

FORMAT_VERSION = 1
AUTO = "auto"
SEARCH = "search"
UNITS = ("tokens", "flops", "seconds")  # of a candidate's budget

# What a study keeps for life; the rest of a study file may change between two runs.
FIXED = (
    "space",
    "task",
    "split",
    "recipe",
    "objectives",
    "per_candidate",
    "latency",
    "seed",
    "warm_start",
)

_RECIPE = Recipe(context=64, batch=12, rate=0.0)  # for its defaults


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskConfig:
    """What is learned, from which data."""

    name: str
    data: str | Mapping[str, str]  # a file, a folder or builtin:NAME, or one for each split
    options: Mapping[str, OptionValue] = field(default_factory=dict)  # all that the task has

    def to_plain(self) -> dict[str, Any]:
        """Return the section as a study file has it."""
        data = self.data if isinstance(self.data, str) else dict(self.data)
        return {"name": self.name, "data": data, **self.options}


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeConfig:
    """How candidates are trained; as `records.Recipe`, but the rate may still be open."""

    context: int = _RECIPE.context
    batch: int = _RECIPE.batch
    rate: float | None = None  # None: auto
    search_rate: bool = False  # whether the rate is searched, around the automatic one
    precision: str = AUTO
    weight_decay: float = _RECIPE.weight_decay
    beta1: float = _RECIPE.beta1
    beta2: float = _RECIPE.beta2
    clip: float = _RECIPE.clip
    warmup_tokens: int | None = None  # None: auto
    cooldown: float = _RECIPE.cooldown
    dropout: float = _RECIPE.dropout
    token_dropout: float = _RECIPE.token_dropout
    label_smoothing: float = _RECIPE.label_smoothing
    class_weights: str = _RECIPE.class_weights
    augment: str = _RECIPE.augment
    early_stop: int = _RECIPE.early_stop

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimizer step sees."""
        return self.context * self.batch

    def resolve(self, rate: float, tokens: int) -> Recipe:
        """Return the recipe of a candidate.

        Args:
            rate: Taken where none was set.
            tokens: The full budget, of the reference where shapes differ; an open warm-up is a
                fiftieth of it.
        """
        plain = asdict(self)
        del plain["precision"], plain["search_rate"]
        if self.rate is None:
            plain["rate"] = rate
        if self.warmup_tokens is None:
            plain["warmup_tokens"] = tokens // 50
        return Recipe(**plain)


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetConfig:
    """How long a candidate is trained and where it is measured on the way.

    Tokens are the same for every shape; FLOPs and seconds are more tokens of a cheaper one.
    """

    amount: float = 400_000  # whole, of tokens
    unit: str = UNITS[0]
    rungs: tuple[float, ...] | None = None  # in the unit, ascending to `amount`; None: auto
    eta: float = 3.0  # of so many measured at a rung, one goes on; 1: all do, without a pause
    max_minutes: float | None = None  # a job; None: by the pace. May change between runs

    @property
    def amounts(self) -> tuple[float, ...]:
        """The rungs in the budget's own unit.

        Auto is a quarter of the budget and all of it: the loss at a quarter ranks candidates
        nearly as the last one does (Spearman .95 over shapes of all sizes).
        """
        return (self.amount / 4, self.amount) if self.rungs is None else self.rungs

    def resolve(self, tokens_per_step: int, per_token: float = 1.0) -> tuple[int, ...]:
        """Return the rungs in tokens, each rounded down to whole steps, one step at least.

        Args:
            tokens_per_step: Of the recipe.
            per_token: What a token of the shape takes of the budget. Where it is not tokens,
                every shape has as many rungs, each a step above the one before at least.
        """
        wanted = [int(amount / per_token) // tokens_per_step for amount in self.amounts]
        steps: list[int] = []
        for count in wanted:
            least = steps[-1] + 1 if steps and self.unit != "tokens" else 1
            steps.append(max(least, count))
        return tuple(tokens_per_step * count for count in sorted(set(steps)))

    def to_plain(self) -> dict[str, Any]:
        """Return the section as a study file has it."""
        rungs = AUTO if self.rungs is None else list(self.rungs)
        plain = {self.unit: self.amount, "rungs": rungs, "eta": self.eta}
        return plain if self.max_minutes is None else plain | {"max_minutes": self.max_minutes}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> BudgetConfig:
        """Rebuild what `to_plain` returned."""
        unit = next(name for name in UNITS if name in plain)
        rungs = None if plain["rungs"] == AUTO else tuple(plain["rungs"])
        return cls(
            amount=plain[unit],
            unit=unit,
            rungs=rungs,
            eta=plain["eta"],
            max_minutes=plain.get("max_minutes"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalistsConfig:
    """How many of the best are retrained from fresh seeds, and from how many."""

    top: int = 3
    seeds: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class StopConfig:
    """When the search ends; without a limit, when the space is exhausted."""

    candidates: int | None = None
    minutes: float | None = None  # of the whole search, finalists included


DEFAULT_SPLIT = Split(train=0.8, val=0.1, test=0.1)
DEFAULT_STOP = StopConfig(candidates=40)


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyConfig(LatencySpec):
    """What `latency_ms` is the time of, and the longest that is wanted."""

    max_ms: float | None = None  # may change between runs; the rest may not

    @property
    def spec(self) -> LatencySpec:
        """What is measured."""
        plain = asdict(self)
        del plain["max_ms"]
        return LatencySpec(**plain)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyConfig:
    """A checked study file."""

    name: str
    space: SearchSpace
    task: TaskConfig
    split: Split = DEFAULT_SPLIT
    recipe: RecipeConfig = RecipeConfig()
    objectives: tuple[str, ...] = ("val_loss",)
    budget: BudgetConfig = BudgetConfig()
    finalists: FinalistsConfig = FinalistsConfig()
    stop: StopConfig = DEFAULT_STOP
    latency: LatencyConfig | None = None
    strategy: str = AUTO
    executor: str = "processes"
    workers: int | None = None  # None: as many as fit
    device: str = AUTO
    keep: int = 5
    seed: int = 0
    warm_start: str | None = None  # a study whose results seed the proposals
    loggers: tuple[str, ...] = ()  # that are told of the search (see `nas.loggers`)
    database: str | None = None  # a server's URL without secrets, where the folder does not say

    @property
    def request(self) -> DataRequest:
        """What is asked of the data."""
        return DataRequest.of(
            self.task.data,
            split=self.split,
            context=self.recipe.context,
            options=self.task.options,
        )

    def to_plain(self) -> dict[str, Any]:
        """Return the study file's content with every default written out.

        Where the database is stands in the study's folder, and not in the database.
        """
        plain: dict[str, Any] = {"format_version": FORMAT_VERSION, "space": self.space.to_plain()}
        plain["task"] = self.task.to_plain()
        for name in ("split", "recipe"):
            plain[name] = asdict(getattr(self, name))
        for name in ("rate", "warmup_tokens"):
            value = getattr(self.recipe, name)
            plain["recipe"][name] = AUTO if value is None else value
        if plain["recipe"].pop("search_rate"):
            plain["recipe"]["rate"] = SEARCH
        plain["objectives"] = list(self.objectives)
        plain["per_candidate"] = self.budget.to_plain()
        plain |= {"finalists": asdict(self.finalists), "stop": asdict(self.stop)}
        plain["latency"] = None if self.latency is None else asdict(self.latency)
        for name in ("strategy", "executor", "workers", "device", "keep", "seed", "warm_start"):
            plain[name] = getattr(self, name)
        plain["logger"] = list(self.loggers)
        return plain

    def identity(self) -> dict[str, Any]:
        """Return the part of `to_plain` that is fixed once the study exists.

        Of a path to data only the last name counts, so that files may move; whether their content
        changed is asked of `data.source_changed`.
        """
        plain = self.to_plain()
        data = self.task.data
        plain["task"]["data"] = (
            _last_name(data)
            if isinstance(data, str)
            else {name: _last_name(source) for name, source in data.items()}
        )
        plain["per_candidate"].pop("max_minutes", None)
        if plain["latency"] is not None:
            del plain["latency"]["max_ms"]
        if self.warm_start is not None:
            plain["warm_start"] = Path(self.warm_start).resolve().name
        return {key: plain[key] for key in FIXED if plain[key] is not None}


def _last_name(source: str) -> str:
    return source if is_builtin(source) else Path(source).resolve().name


def identity_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that differs between two identities; none: the same study."""
    kept, asked = _flat(old), _flat(new)
    return [
        f"{key}: {kept.get(key, 'nothing')} in the study, {asked.get(key, 'nothing')} asked for"
        for key in [*kept, *(key for key in asked if key not in kept)]
        if kept.get(key) != asked.get(key)
    ]


def _flat(plain: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the values of nested mappings under their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {path + key: value}
    return flat
