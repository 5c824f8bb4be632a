"""No password on the command line: whoever lists the processes of a machine would read it."""

from __future__ import annotations

import re
from collections.abc import Sequence

# An argument, or the value in OPTION=VALUE, that is the URL of a server's database.
_SERVER = re.compile(r"(?:[\w.-]+=)*(?P<url>postgres(?:ql)?(?:\+\w+)?://.*)", re.DOTALL)


def refuse_passwords(arguments: Sequence[str]) -> None:
    """Refuse arguments that hold a database's password.

    Raises:
        InputError: If one does; the message does not show it.
    """
    for argument in arguments:
        if match := _SERVER.fullmatch(argument):
            from nas.store.urls import refuse_secrets  # SQLAlchemy: most commands name no URL

            refuse_secrets(match["url"].partition("#")[0], "command line")
