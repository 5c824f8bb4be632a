"""A proposal as a study file, with a comment a line for whoever changes it."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nas.data.sources import is_builtin
from nas.proposal.propose import Proposal
from nas.proposal.sight import Sight
from nas.schemas import editor_line
from nas.tasks import task_class

WIDTH = 100  # of a line at most
COMMENT = 38  # column at which comments stand, where the line leaves room
# Texts that YAML reads as they are: no word that it takes for another type, no sign of its own.
_PLAIN = re.compile(r"[A-Za-z][\w./-]*( [\w./-]+)*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})

OPTION_HELP = {
    "vocab_size": "tokens learned from the training texts, 300 to 65536",
    "tokenizer": "bytes, or bpe: a vocabulary learned here",
    "image_size": "pixels a side that images are resized to; 0: as they are",
}
RECIPE_HELP = {
    "context": "longest input in tokens; longer ones lose their end",
    "batch": "examples a step",
    "rate": "learning rate: auto, search, or a number such as 0.004",
    "dropout": "0 to 0.9; more against learning by heart",
    "token_dropout": "share of an input that training hides, 0 to 0.9",
    "label_smoothing": "share of a target that is spread over all, 0 to 0.9",
    "class_weights": "balanced: rare classes count more; or none",
    "augment": "of training images: none, flip, shift or shift_flip",
    "early_stop": "ends after so many of 20 checks without gain; 0: never",
}


def study_text(proposal: Proposal, file: Path) -> str:
    """Return the text of a study file.

    Args:
        proposal: What it says.
        file: Where it will lie: paths in it are relative to its folder.
    """
    sections = (
        _head(proposal, file),
        _task(proposal, file.absolute().parent.resolve()),  # as `..` in a path goes
        _training(proposal),
        _search(proposal),
        _running(),
    )
    return "\n".join("\n".join(lines) + "\n" for lines in sections)


def _head(proposal: Proposal, file: Path) -> list[str]:
    sight, machine = proposal.sight, proposal.machine
    notes = [line for note in sight.notes for line in _comment(note, "# - ", "#   ")]
    return [
        editor_line("study"),
        *_comment(f"Written by `nas init` for {_source_words(sight)}: {sight.words}."),
        *_comment(
            f"The budget is for {machine.words()}, so that this takes about "
            f"{proposal.minutes:g} min:"
        ),
        f"#     nas search {_shown(file.name)}",
        *_comment(
            "To change first: stop.minutes (more candidates) and per_candidate (each trained "
            "longer). Once the study has begun, stop, strategy, executor, workers, device and "
            "keep may change; for anything else begin anew: nas search "
            f"{_shown(file.name)} --fresh"
        ),
        *(["# Seen in the data:", *notes] if notes else []),
        "format_version: 1",
    ]


def _task(proposal: Proposal, folder: Path) -> list[str]:
    sight = proposal.sight
    known = task_class(sight.task).options
    options = [
        _line(1, key, value, OPTION_HELP.get(key) or known[key].help)
        for key, value in proposal.options.items()
    ]
    return [
        "# What is learned, from which data.",
        "task:",
        *_line(1, "name", sight.task, "see: nas tasks"),
        *_data(sight, folder),
        *(line for lines in options for line in lines),
        *_split(proposal),
    ]


def _data(sight: Sight, folder: Path) -> list[str]:
    text = "relative to this file; or builtin:NAME"
    if isinstance(sight.data, str):
        return _line(1, "data", path_from(sight.data, folder), text)
    parts = [_line(2, name, path_from(path, folder)) for name, path in sight.data.items()]
    return ["  data:  # a file for each split", *(line for lines in parts for line in lines)]


def path_from(source: str, folder: Path) -> str:
    """Return how a file in a folder names a source: relative where that is possible, with `/`."""
    if is_builtin(source):
        return source
    path = Path(source).expanduser().absolute()
    try:
        relative = Path(os.path.relpath(path, folder))
    except ValueError:  # another drive of Windows
        return path.as_posix()
    return relative.as_posix()


def _split(proposal: Proposal) -> list[str]:
    split, sight = proposal.split, proposal.sight
    shares = f"{{train: {split.train:g}, val: {split.val:g}, test: {split.test:g}}}"
    text = "add up to 1; only the finals read test"
    if sight.task == "sequential_recommendation":
        text = "a user's last item is test; 0: none"
    elif sight.is_split:
        text = "for splits without a file"
    return _line(0, "split", shares, text, raw=True)


def _training(proposal: Proposal) -> list[str]:
    recipe = [_line(1, key, value, RECIPE_HELP[key]) for key, value in proposal.recipe.items()]
    amount = f"for each, about {_passes(proposal.passes)}; or flops, seconds"
    return [
        "# How a candidate is trained, and for how long.",
        "recipe:",
        *(line for lines in recipe for line in lines),
        "per_candidate:",
        *_line(1, proposal.unit, proposal.amount, amount),
        *_line(1, "rungs", "auto", "where the poor ones pause: auto is a quarter; or a list"),
    ]


def _passes(passes: float) -> str:
    if passes >= 1.95:
        return f"{passes:.0f} passes over the data"
    return f"{passes:.2g} of a pass over the data"


def _search(proposal: Proposal) -> list[str]:
    finalists = proposal.finalists
    metrics = ", ".join(f"val_{name}" for name in task_class(proposal.sight.task).metrics)
    return [
        "# What is searched, for what, and until when.",
        *_line(0, "space", proposal.space, "which shapes there are: nas spaces; or a file"),
        *_line(
            0,
            "objectives",
            f"[{proposal.objective}]",
            f"or other: {metrics}, latency_ms, params; or several, of which the first ranks",
            raw=True,
        ),
        "stop:",
        *_line(1, "minutes", proposal.minutes, "of the whole search, finals included"),
        *_line(1, "candidates", proposal.candidates, "whichever comes first; null: no such limit"),
        "finalists:",
        *_line(1, "top", finalists.top, "so many of the best are trained again; 0: no finals"),
        *_line(1, "seeds", finalists.seeds, "from so many fresh seeds each, beside the reference"),
        *_line(0, "strategy", "auto", "or random, evolution, tpe, gp, nsga2"),
        *_line(0, "seed", 0, "decides every draw"),
    ]


def _running() -> list[str]:
    return [
        "# How it runs here.",
        *_line(0, "executor", "processes", "or inline (one at a time), ray, ray://HOST:PORT"),
        *_line(0, "workers", None, "candidates at once; null: as many as cores and memory hold"),
        *_line(0, "device", "auto", "or cpu, cuda, cuda:N, mps"),
        *_line(0, "keep", 5, "models kept with their weights"),
    ]


def _line(depth: int, key: str, value: Any, text: str = "", *, raw: bool = False) -> list[str]:
    """Return a key with its value and a comment, which stands above where there is no room."""
    indent = "  " * depth
    line = f"{indent}{key}: {value if raw else scalar(value)}"
    if not text:
        return [line]
    beside = f"{line:<{COMMENT}}  # {text}"
    if len(beside) <= WIDTH:
        return [beside]
    return [*_comment(text, f"{indent}# ", f"{indent}# "), line]


def scalar(value: Any) -> str:
    """Return a value as YAML reads it back; a text is quoted unless it can be nothing else."""
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    """Return a character as it stands between YAML's double quotes."""
    if character in ('"', "\\"):
        return "\\" + character
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 1 << 16 else f"\\U{ord(character):08x}"


def _comment(text: str, first: str = "# ", later: str = "# ") -> list[str]:
    """Return a text as lines of comment; control characters in it are written out."""
    tame = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return textwrap.wrap(
        tame,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _source_words(sight: Sight) -> str:
    data = sight.data
    sources: Iterable[str] = [data] if isinstance(data, str) else data.values()
    return ", ".join(one if is_builtin(one) else Path(one).name for one in sources)


def _shown(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f'"{name}"'
