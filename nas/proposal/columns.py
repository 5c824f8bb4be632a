"""Which columns of a table are what: by their names, else by what stands in a few thousand rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from nas.data.sequence_to_sequence import COLUMNS as PAIRS
from nas.data.sequential_recommendation import COLUMNS as LOG
from nas.data.text_classification import COLUMNS as LABELLED

TABLE_TASKS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "sequential_recommendation": LOG,
    "sequence_to_sequence": PAIRS,
    "text_classification": LABELLED,
}
# What else the columns of a log are called, in part.
LOG_PARTS = {
    "user": ("user", "customer", "session", "visitor", "account"),
    "item": ("item", "product", "movie", "track", "song", "article", "sku"),
    "time": ("time", "date", "stamp"),
}
MOST_CLASSES = 50  # of a column that is taken for a label by its content
LONGEST_LABEL = 40  # characters

Found = dict[str, str]  # our name of a column: the file's


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column by its content.

    Attributes:
        name: What the file calls it.
        kinds: How many different values it has.
        rows: How many values were looked at.
        length: Mean characters of a value.
        words: Mean words of a value.
        numeric: Whether all are numbers.
        is_whole: Whether no value is missing or empty.
    """

    name: str
    kinds: int
    rows: int
    length: float
    words: float
    numeric: bool
    is_whole: bool

    @classmethod
    def of(cls, name: str, values: Sequence[Any]) -> Column:
        """Look at a column's values."""
        texts = ["" if value is None else str(value) for value in values]
        return cls(
            name=name,
            kinds=len(set(texts)),
            rows=len(texts),
            length=mean(map(len, texts)) if texts else 0.0,
            words=mean(len(text.split()) for text in texts) if texts else 0.0,
            numeric=all(_is_number(text) for text in texts),
            is_whole=all(texts),
        )

    @property
    def may_be_text(self) -> bool:
        """Whether it looks like sentences."""
        return not self.numeric and self.words >= 1.5 and self.kinds > self.rows / 3

    @property
    def may_be_label(self) -> bool:
        """Whether it looks like the names of classes."""
        few = min(MOST_CLASSES, max(2, self.rows // 3))
        return self.is_whole and 2 <= self.kinds <= few and self.length <= LONGEST_LABEL


def by_name(task: str, names: Sequence[str]) -> Found | None:
    """Return a task's columns if all are there under their usual names."""
    found = {}
    for ours, usual in TABLE_TASKS[task].items():
        theirs = next((name for name in usual if name in names), None)
        if theirs is None:
            return None
        found[ours] = theirs
    return found if len(set(found.values())) == len(found) else None


def by_content(task: str, columns: Sequence[Column]) -> list[Found]:
    """Return the ways in which columns can be a task's, the likeliest first."""
    names = {
        "sequential_recommendation": _as_log,
        "sequence_to_sequence": _as_pairs,
        "text_classification": _as_labelled,
    }
    return names[task](columns)


def _as_log(columns: Sequence[Column]) -> list[Found]:
    found: Found = {}
    for ours, parts in LOG_PARTS.items():
        free = [one.name for one in columns if one.name not in found.values()]
        theirs = next((name for name in free if any(part in name.lower() for part in parts)), None)
        if theirs is None:
            return []
        found[ours] = theirs
    return [found]


def _as_pairs(columns: Sequence[Column]) -> list[Found]:
    usual = {name: ours for ours, names in PAIRS.items() for name in names}
    texts = [one for one in columns if one.may_be_text and one.is_whole]
    texts.sort(key=lambda one: usual.get(one.name) == "target")
    if len(texts) < 2:
        return []
    return [{"source": texts[0].name, "target": other.name} for other in texts[1:]]


def _as_labelled(columns: Sequence[Column]) -> list[Found]:
    texts = sorted(
        (one for one in columns if one.may_be_text),
        key=lambda one: (one.name not in LABELLED["text"], -one.length),
    )
    labels = sorted(
        (one for one in columns if one.may_be_label and one not in texts[:1]),
        key=lambda one: (one.name not in LABELLED["label"], one.numeric, one.kinds),
    )
    return [{"text": texts[0].name, "label": label.name} for label in labels] if texts else []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
