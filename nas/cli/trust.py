"""`--trust`: whether code that files and databases name may be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nas.study import Study

TrustOption = Annotated[
    bool,
    typer.Option("--trust", help="Import and run code that it names as package.module:Name."),
]


def check_study(study: Study, *, trust: bool) -> None:
    """Do nothing if a stored study names no code outside nas, or the user trusts it.

    Raises:
        UntrustedError: If it does and the user does not.
    """
    from nas.config import check_code

    check_code(study.config, f"study '{study.name}'", trust=trust)
