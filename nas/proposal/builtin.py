"""Look at data that Python or a dependency brings along."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from nas.data import examples
from nas.data.corpora import CORPORA, PREFIX
from nas.data.sources import read_documents
from nas.errors import DataError, nearest
from nas.proposal.pictures import wanted_size
from nas.proposal.sight import Sight, class_notes, class_words
from nas.proposal.text import text_words


def look_at_builtin(source: str, task: str | None) -> Sight:
    """Return what is in `builtin:NAME`.

    Raises:
        DataError: If there is none of this name, it needs a package, or it is another task's.
    """
    known = {**dict.fromkeys(CORPORA, _corpus), **_EXAMPLES}
    name = source.removeprefix(PREFIX)
    if name not in known:
        raise DataError(
            f"{source}: unknown; known: {', '.join(PREFIX + one for one in known)}"
            f"{nearest(name, known)}"
        )
    sight = known[name](source)
    if task not in (None, sight.task):
        raise DataError(f"{source}: is data for {sight.task}, not for {task}")
    return sight


def _corpus(source: str) -> Sight:
    documents = read_documents(source)
    size = sum(map(len, documents))
    return Sight(
        task="language_modeling",
        data=source,
        words=text_words(len(documents), size),
        examples=size,
        bytes=size,
    )


def _docstrings(source: str) -> Sight:
    texts, labels = examples.docstrings()
    classes = dict(Counter(labels).most_common())
    lengths = [len(text.encode()) for text in texts]
    return Sight(
        task="text_classification",
        data=source,
        words=f"{len(texts):,} texts in {class_words(classes)}",
        examples=len(texts),
        bytes=sum(lengths),
        lengths=lengths,
        classes=classes,
        notes=tuple(class_notes(classes)),
    )


def _names(source: str) -> Sight:
    sources, targets = examples.function_names()
    lengths = [len(text.encode()) for text in (*sources, *targets)]
    return Sight(
        task="sequence_to_sequence",
        data=source,
        words=f"{len(sources):,} pairs of texts",
        examples=len(sources),
        bytes=sum(lengths),
        lengths=lengths,
    )


def _digits(source: str) -> Sight:
    pixels, labels = examples.digits()
    classes = dict(Counter(map(str, labels)).most_common())
    return Sight(
        task="image_classification",
        data=source,
        words=f"{len(labels):,} grey images of 8 x 8 in {class_words(classes)}",
        examples=len(labels),
        classes=classes,
        image_side=wanted_size(pixels.shape[1]),
    )


def _name_log(source: str) -> Sight:
    log = examples.name_log()
    lengths = list(Counter(log["user"]).values())
    return Sight(
        task="sequential_recommendation",
        data=source,
        words=f"{len(log['user']):,} events of {len(lengths):,} users over "
        f"{len(set(log['item'])):,} items",
        examples=len(lengths),
        lengths=lengths,
    )


_EXAMPLES: dict[str, Callable[[str], Sight]] = {
    "docstrings": _docstrings,
    "function-names": _names,
    "digits": _digits,
    "name-log": _name_log,
}
