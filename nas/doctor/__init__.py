"""What this machine offers to a search, and what to do about what is missing.

Each check stands for itself: whatever goes wrong in one is its finding, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nas.doctor import machine, packages, places
from nas.doctor.finding import BAD, Finding

Check = Callable[[], Sequence[Finding]]

# In the order in which they are shown; the second part says which searches cannot do without.
CHECKS: tuple[tuple[str, Check, bool], ...] = (
    ("python", packages.python, True),
    ("packages", packages.required, True),
    ("torch", machine.torch_works, True),
    ("processor", machine.processor, True),
    ("device", machine.device, True),
    ("memory", machine.memory, False),
    ("studies", places.studies, True),
    ("sqlite", places.sqlite, True),
    ("server", places.server, True),
    ("extras", packages.extras, False),
    ("browser", packages.browser, False),
)


def examine(*, thorough: bool = False) -> list[Finding]:
    """Return what was found, all of it.

    Args:
        thorough: Whether each optional package is imported too, in a process of its own.
    """
    return list(_examined(thorough))


def _examined(thorough: bool) -> Iterator[Finding]:
    for name, check, needed in CHECKS:
        yield from guarded(name, check, needed=needed)
    if thorough:
        yield from guarded("imports", packages.imports, needed=False)


def guarded(name: str, check: Check, *, needed: bool) -> list[Finding]:
    """Return what a check finds; an error of its own is a finding.

    Args:
        name: The check's.
        check: What is called.
        needed: Whether no search can run without it.
    """
    try:
        return list(check())
    except Exception as error:  # a broken installation may raise anything
        told = " ".join(f"{type(error).__name__}: {error}".split())
        return [
            Finding(
                name=name,
                state=BAD if needed else "missing",
                found=told[:300],
                advice="this should not happen; install nas anew in a fresh environment",
            )
        ]


def can_search(findings: Sequence[Finding]) -> bool:
    """Say whether searches can run."""
    return all(one.state != BAD for one in findings)
