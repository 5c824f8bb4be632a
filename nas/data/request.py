"""What is asked of the data: its sources, how it is cut, and the options of a task.

A task declares its options as a mapping of `Option`s; the study file's `task:` section is checked
against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.data.splits import SPLITS, Split
from nas.errors import DataError
from nas.records import TaskSpec

OptionValue = str | int | bool
WHOLE = "all"  # the only source, cut into splits


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One option of a task.

    Attributes:
        default: Its value where none is given; its type is the option's.
        choices: What is allowed, of texts; empty: any text.
        minimum: The least allowed, of integers.
        maximum: The largest allowed, of integers.
        help: One line.
    """

    default: OptionValue
    choices: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = 1 << 20
    help: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a trained model that goes on with new data lays down: they are read as its own were.

    Attributes:
        spec: Its vocabulary, image size and classes.
        files: The content of its tokenizer or image preprocessor, by file name.
        head: `auto`: its classes are kept where the data have the same; `keep`: always; `new`:
            never.
    """

    spec: TaskSpec
    files: Mapping[str, str]
    head: str = "auto"

    @property
    def tokenizer(self) -> str:
        """The content of its `tokenizer.json`.

        Raises:
            DataError: If it has none.
        """
        if "tokenizer.json" not in self.files:
            raise DataError("the model has no tokenizer.json, which new data are encoded with")
        return self.files["tokenizer.json"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRequest:
    """The data of a study as its file names it.

    Attributes:
        sources: `{"all": SOURCE}`, or a source of its own for `train` and any of `val` and `test`.
        split: Shares of each split; of given files only those of the splits without one count.
        context: Longest input in tokens.
        options: The task's options, complete.
        trained: The model that goes on with the data; None: they are for new models.
    """

    sources: Mapping[str, str]
    split: Split
    context: int
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    trained: Trained | None = None

    @classmethod
    def of(
        cls,
        data: str | Mapping[str, str],
        *,
        split: Split,
        context: int,
        options: Mapping[str, OptionValue],
        trained: Trained | None = None,
    ) -> DataRequest:
        """Return the request for what stands in `task.data`.

        Raises:
            DataError: If a mapping names no `train`, or anything but splits.
        """
        sources = {WHOLE: data} if isinstance(data, str) else dict(data)
        if WHOLE not in sources:
            unknown = sorted(set(sources) - set(SPLITS))
            if unknown or "train" not in sources:
                what = f"unknown split '{unknown[0]}'" if unknown else "no 'train'"
                raise DataError(f"task.data: {what}; expected train and any of val and test")
        return cls(sources=sources, split=split, context=context, options=options, trained=trained)

    @property
    def is_given(self) -> bool:
        """Whether the splits are sources of their own."""
        return WHOLE not in self.sources

    @property
    def name(self) -> str:
        """The sources in one line, for messages."""
        return self.sources.get(WHOLE) or ", ".join(self.sources.values())
