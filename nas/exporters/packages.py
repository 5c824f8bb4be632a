"""Packages that only a target needs, and how to install them."""

from __future__ import annotations

from importlib.util import find_spec

from nas.errors import ExportError


def need_packages(target: str, extra: str, *packages: str) -> None:
    """Do nothing if all packages can be imported; none of them is.

    Args:
        target: The exporter's name.
        extra: Ours that installs them.
        packages: Top-level modules.

    Raises:
        ExportError: If one is missing, with the command that installs it.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ExportError(
            f"export to {target} needs {', '.join(missing)}; "
            f"run: pip install 'transformer-nas[{extra}]'"
        )
