"""JSON Schemas of search space and study files, made from what the parsers themselves go by.

The files beside this module are what editors read; `nas schema` prints them, and a test holds them
to what is made here. A schema says what can be said of one value or one mapping at a time. What
depends on several (rungs that end at the budget, a reference that its space has) the parsers alone
know, so a file that its schema takes may still be refused, never the other way round.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KINDS = ("space", "study")


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of one of `KINDS`, as plain content."""
    from nas.schemas.space import space_schema
    from nas.schemas.study import study_schema

    return {"space": space_schema, "study": study_schema}[kind]()


def schema_text(kind: str) -> str:
    """Return the text of a schema's file."""
    return json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"


def schema_file(kind: str) -> Path:
    """Return where the schema of one of `KINDS` lies in this installation."""
    return Path(__file__).absolute().with_name(f"{kind}.schema.json")


def editor_line(kind: str) -> str:
    """Return the comment that has an editor check a YAML file by a schema of this installation.

    Editors with a YAML language server (VS Code's YAML extension among them) read it.
    """
    return f"# yaml-language-server: $schema={schema_file(kind).as_uri()}"
