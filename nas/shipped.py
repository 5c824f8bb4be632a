"""Where the search spaces and study files that come with `nas` lie on this machine."""

from __future__ import annotations

from pathlib import Path

from nas.errors import NasError

KINDS = ("search_spaces", "studies")


def shipped_folder(kind: str) -> Path:
    """Return the folder of the YAML files shipped with `nas`: one of `KINDS`.

    An installed wheel has them inside the package, a checkout at its top.

    Raises:
        NasError: If the installation lacks them.
    """
    assert kind in KINDS
    package = Path(__file__).parent
    for folder in (package / "shipped" / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise NasError(f"the installation of nas at {package} lacks its {kind}; install it again")


def shipped_names(kind: str) -> list[str]:
    """Return the names of the shipped files of a kind, sorted, without `.yaml`."""
    return sorted(path.stem for path in shipped_folder(kind).glob("*.yaml"))
