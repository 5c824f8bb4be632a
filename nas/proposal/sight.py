"""What was seen in the data, whatever the task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.data.request import OptionValue

RARE = 5.0  # so many times as frequent as the rarest: classes out of balance
SHOWN_CLASSES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What a source holds, as far as a study file depends on it.

    Attributes:
        task: The task that it is for.
        data: What the study file names: a source, or one for each split.
        words: What was seen, in one line.
        examples: How many: texts, pairs, images, users; of running text its bytes.
        bytes: Of text altogether.
        lengths: Inputs' lengths, of texts in bytes, of histories in items; empty for images.
        options: Of the task, where they are not the usual ones, such as columns.
        classes: How many examples each class has.
        items: Different items of a log.
        image_side: Pixels a side that images have or are resized to.
        notes: What a user should know, a sentence each.
    """

    task: str
    data: str | Mapping[str, str]
    words: str
    examples: int
    bytes: int = 0
    lengths: Sequence[int] = ()
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    items: int = 0
    image_side: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_split(self) -> bool:
        """Whether the data come as files of their own for the splits."""
        return not isinstance(self.data, str)

    @property
    def is_unbalanced(self) -> bool:
        """Whether some class is much rarer than another."""
        counts = self.classes.values()
        return bool(counts) and max(counts) >= RARE * min(counts)

    @property
    def size(self) -> int:
        """Bytes of text, or of pixels, that a search reads at its beginning."""
        return max(self.bytes, self.examples * self.image_side**2)

    def length_within(self, share: float) -> int:
        """Return the length that a share of the inputs does not exceed."""
        ordered = sorted(self.lengths)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def class_notes(classes: Mapping[str, int]) -> list[str]:
    """Return what to say of classes that are out of balance."""
    if not classes or max(classes.values()) < RARE * min(classes.values()):
        return []
    ordered = sorted(classes.items(), key=lambda one: -one[1])
    (most, many), (least, few) = ordered[0], ordered[-1]
    total = sum(classes.values())
    return [
        f"the classes are out of balance: {many:,} of {total:,} are '{most}', {few:,} '{least}'; "
        "so macro F1 is the objective, and rare classes count more in training"
    ]


def repeated_notes(values: Sequence[Any], noun: str) -> list[str]:
    """Return what to say of examples that occur more than once: train and test may share them."""
    extra = sum(count - 1 for count in Counter(values).values())
    if not extra:
        return []
    return [
        f"{extra:,} of {len(values):,} {noun} are copies of another: train and test may share "
        "them, which flatters the test figures; remove copies for honest ones"
    ]


def class_words(classes: Mapping[str, int]) -> str:
    """Return how many classes there are, and which, where they are few."""
    names = ", ".join(classes) if len(classes) <= SHOWN_CLASSES else ""
    shown = f" ({names})" if names and len(names) <= 60 else ""
    return f"{len(classes):,} {'class' if len(classes) == 1 else 'classes'}{shown}"
