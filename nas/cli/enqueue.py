"""`nas enqueue`: have a shape of one's own tried next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from nas.cli import terminal
from nas.cli.choosing import find_study, study_name
from nas.cli.trust import TrustOption
from nas.cli.wording import shape_words
from nas.errors import InputError


def enqueue(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study's name, folder or database URL.")
    ],
    shape: Annotated[
        list[str],
        typer.Argument(
            metavar="FIELD=VALUE...",
            help="The shape; what the space fixes may be left out.",
            show_default=False,
        ),
    ],
    trust: TrustOption = False,
) -> None:
    """Have a shape of your own tried next.

    It comes before the strategy's proposals when the search goes on, at once if it runs, and
    counts on top of its limit of candidates.
    """
    found, how = find_study(study)
    terminal.say(how)
    wanted = found.enqueue(shape_fields(shape), trust=trust)
    terminal.say(f"enqueued {shape_words(wanted.shape)}")
    terminal.say(f"go on with: nas search {study_name(found)}")


def shape_fields(texts: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a shape from `FIELD=VALUE`, one a text or several.

    Raises:
        InputError: If a text is no such thing, or a field is given twice.
    """
    from nas.config import parse_set

    fields: dict[str, Any] = {}
    for text in (part for given in texts for part in re.split(r"[\s,]+(?=\w+=)", given.strip())):
        if not re.match(r"\w+=", text):
            raise InputError(f"shape: got '{text}', expected FIELD=VALUE such as n_layer=4")
        name, value = parse_set(text)
        if name in fields:
            raise InputError(f"shape: '{name}' given twice")
        fields[name] = value
    return fields
