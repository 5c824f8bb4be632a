"""`nas schema`: the JSON Schema of a search space or study file, for editors and other programs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from nas.cli import terminal


class Kind(StrEnum):
    """What a schema is of."""

    SPACE = "space"
    STUDY = "study"


def schema(
    kind: Annotated[Kind, typer.Argument(help="Of which file.", show_default=False)],
) -> None:
    """Print the JSON Schema of search space or study files.

    An editor with a YAML language server checks a file, and explains its keys, by a schema that
    is named in its first line, as in those that `nas init` writes.
    """
    from nas.schemas import schema_text

    terminal.write(schema_text(kind))
