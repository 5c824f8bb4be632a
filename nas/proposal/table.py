"""Look at tables: labelled texts, pairs of texts, logs of who took what and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nas.data.interactions import LEAST_EVENTS, histories_of
from nas.data.labels import MOST_CLASSES
from nas.data.request import WHOLE
from nas.data.tables import peek_rows, read_rows
from nas.errors import DataError
from nas.proposal.columns import TABLE_TASKS, Column, Found, by_content, by_name
from nas.proposal.sight import Sight, class_notes, class_words, repeated_notes
from nas.proposal.text import TASK as TEXT
from nas.proposal.text import look_at_text

PEEKED = 2_000  # rows by which columns are told
FEW = 5  # examples of a class, below which a split may miss it

Rows = Mapping[str, Sequence[str]]


def look_at_table(files: Mapping[str, Path], task: str | None) -> Sight:
    """Return what is in tables of one kind.

    Args:
        files: `{"all": PATH}`, or a table for each split.
        task: What they are for, if the user says so.

    Raises:
        DataError: If they cannot be read, or no task finds its columns in them.
    """
    first = files.get(WHOLE) or files["train"]
    names, columns = _columns(first)
    if task == TEXT:
        return look_at_text(files)
    chosen, found, notes = _chosen(first, names, columns, task)
    if chosen == TEXT:
        return look_at_text(files)
    tables = {name: _read(path, found) for name, path in files.items()}
    sight = _LOOKS[chosen](tables)
    usual = TABLE_TASKS[chosen]
    options = {
        f"{ours}_column": theirs
        for ours, theirs in found.items()
        if names and theirs != next((name for name in usual[ours] if name in names), None)
    }
    data = {name: str(path) for name, path in files.items()}
    return replace(
        sight,
        data=data.get(WHOLE) or data,
        options=options,
        notes=(*notes, *_shared_notes(tables, found), *sight.notes),
    )


def _columns(path: Path) -> tuple[list[str], list[Column]]:
    names, rows = peek_rows(path, PEEKED)
    if not rows:
        raise DataError(f"{path}: empty; there is nothing to learn from")
    keys = names or [str(place) for place in range(len(rows[0]))]
    plain = [key for key in keys if not any(isinstance(row.get(key), (dict, list)) for row in rows)]
    return names, [Column.of(key, [row.get(key) for row in rows]) for key in plain]


def _chosen(
    path: Path, names: Sequence[str], columns: Sequence[Column], task: str | None
) -> tuple[str, Found, list[str]]:
    """Return the task, its columns, and what to say of the choice."""
    wanted = [task] if task is not None else list(TABLE_TASKS)
    named = {one: found for one in wanted if (found := by_name(one, names)) is not None}
    seen = {one: ways for one in wanted if (ways := by_content(one, columns))}
    if named:
        chosen = next(iter(named))
        return chosen, named[chosen], _other_tasks(chosen, [*named, *seen])
    if not names and (bare := _without_header(wanted, seen, columns)):
        return bare[0], bare[1], _other_tasks(bare[0], list(seen))
    if seen and names:
        # Labels are the surer sign: columns of many sentences are common beside them.
        chosen = "text_classification" if "text_classification" in seen else next(iter(seen))
        ways = seen[chosen]
        return chosen, ways[0], [*_other_tasks(chosen, list(seen)), *_other_ways(ways)]
    if task is None and "text" in names:
        return TEXT, {}, []
    raise _no_task(path, names, columns, task)


def _without_header(
    wanted: Sequence[str], seen: Mapping[str, Sequence[Found]], columns: Sequence[Column]
) -> tuple[str, Found] | None:
    """Return the task that a table without a header is read for: its columns are in our order."""
    for one in sorted(wanted, key=lambda name: name != "text_classification"):
        usual = TABLE_TASKS[one]
        in_order = dict(zip(usual, (column.name for column in columns), strict=False))
        fits = len(columns) == len(usual) and (
            in_order in seen.get(one, []) or (len(usual) == 3 and columns[2].numeric)
        )
        if fits:
            return one, {ours: names[0] for ours, names in usual.items()}
    return None


def _no_task(
    path: Path, names: Sequence[str], columns: Sequence[Column], task: str | None
) -> DataError:
    expected = "; ".join(
        f"{', '.join(usual)} for {one}" for one, usual in TABLE_TASKS.items() if task in (None, one)
    )
    has = f"the columns {', '.join(names)}" if names else f"{len(columns)} columns and no header"
    if len(names) == 1 and (between := next((sign for sign in ";|" if sign in names[0]), None)):
        return DataError(
            f"{path}: has one column, '{names[0]}'; a csv file has commas between columns (a tsv "
            f"file tabs), not '{between}'"
        )
    return DataError(
        f"{path}: has {has}; expected {expected}; rename the columns, or give the names in a study "
        "file (task.text_column and the like)"
    )


def _other_tasks(chosen: str, possible: Sequence[str]) -> list[str]:
    others = [one for one in dict.fromkeys(possible) if one != chosen]
    if not others:
        return []
    words = " or ".join(f"--task {one}" for one in others)
    return [f"taken for {chosen} by its columns; if it is something else: {words}"]


def _other_ways(ways: Sequence[Found]) -> list[str]:
    """Return what to say where other columns would do as well."""
    taken, *others = ways
    last = list(taken)[-1]
    if not others:
        return []
    names = ", ".join(f"'{one[last]}'" for one in others[:5])
    return [
        f"'{taken[last]}' is taken for the {last}; {names} would do too: change "
        f"task.{last}_column for that"
    ]


def _read(path: Path, found: Found) -> Rows:
    usual = {ours: names for task in TABLE_TASKS.values() for ours, names in task.items()}
    return read_rows(path, {ours: (theirs, *usual[ours]) for ours, theirs in found.items()})


def _shared_notes(tables: Mapping[str, Rows], found: Found) -> list[str]:
    """Say what stands in train and in another split: figures on it are flattered."""
    first = next(iter(found))
    if "train" not in tables or first == "user":
        return []
    train = set(tables["train"][first])
    shared = {
        name: count
        for name, rows in tables.items()
        if name != "train" and (count := sum(value in train for value in rows[first]))
    }
    return [
        f"{count:,} {first}s of {name} stand in train too, which flatters the figures of {name}"
        for name, count in shared.items()
    ]


def _whole(tables: Mapping[str, Rows], column: str) -> list[str]:
    return [value for rows in tables.values() for value in rows[column]]


def _labelled(tables: Mapping[str, Rows]) -> Sight:
    texts, labels = _whole(tables, "text"), _whole(tables, "label")
    classes = dict(Counter(labels).most_common())
    if len(classes) < 2 or len(classes) > min(MOST_CLASSES, len(labels) / 2):
        raise DataError(
            f"label: {len(classes):,} different labels in {len(labels):,} rows; "
            "a classifier needs two classes or more, and several examples of each; name the "
            "label's column 'label'"
        )
    return Sight(
        task="text_classification",
        data="",
        words=f"{len(texts):,} texts in {class_words(classes)}",
        examples=len(texts),
        bytes=sum(len(text.encode()) for text in texts),
        lengths=[len(text.encode()) for text in texts],
        classes=classes,
        notes=(*class_notes(classes), *_rare_notes(classes), *repeated_notes(texts, "texts")),
    )


def _rare_notes(classes: Mapping[str, int]) -> list[str]:
    rare = [name for name, count in classes.items() if count < FEW]
    if not rare:
        return []
    return [
        f"{len(rare):,} of {len(classes):,} classes have fewer than {FEW} examples (such as "
        f"'{rare[0]}'): too few to learn, and a split may miss them"
    ]


def _pairs(tables: Mapping[str, Rows]) -> Sight:
    sides = [_whole(tables, "source"), _whole(tables, "target")]
    lengths = [len(text.encode()) for side in sides for text in side]
    pairs = list(zip(*sides, strict=True))
    return Sight(
        task="sequence_to_sequence",
        data="",
        words=f"{len(pairs):,} pairs of texts",
        examples=len(pairs),
        bytes=sum(lengths),
        lengths=lengths,
        notes=tuple(repeated_notes(pairs, "pairs")),
    )


def _log(tables: Mapping[str, Rows]) -> Sight:
    if len(tables) > 1:
        raise DataError("a log is one table: of each user the last item is for test")
    (rows,) = tables.values()
    histories = histories_of(rows)
    kept = [len(items) for items in histories.values() if len(items) >= LEAST_EVENTS]
    items = len(set(rows["item"]))
    if not kept:
        raise DataError("no user has 3 events or more; give a longer log")
    short = len(histories) - len(kept)
    return Sight(
        task="sequential_recommendation",
        data="",
        words=f"{len(rows['user']):,} events of {len(histories):,} users over {items:,} items",
        examples=len(kept),
        lengths=kept,
        items=items,
        notes=(f"{short:,} users of fewer than 3 events are left out",) if short else (),
    )


_LOOKS = {
    "text_classification": _labelled,
    "sequence_to_sequence": _pairs,
    "sequential_recommendation": _log,
}
