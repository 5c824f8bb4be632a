"""What a search does while its database is away: it tries again, for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from nas.errors import StoreError

# A server that is restarted is back in seconds, one that recovers or fails over in a minute. Any
# longer and somebody has to look.
SECONDS = 90.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
# That a user who wants to leave waits for it, and how soon it is seen that this is wanted.
LEAVE_SECONDS, LOOK_SECONDS = 3.0, 0.2

T = TypeVar("T")


class AwayError(StoreError):
    """The database cannot be reached, or let go of us in the middle of a transaction.

    Whether that transaction was stored is not known: what is tried again must not double.
    """


class LeaseLostError(StoreError):
    """Another driver took the study while the database was away: nothing more is written."""


def stay() -> bool:
    """Never leave."""
    return False


class Patience:
    """Tries again what failed because the database was away, longer each time, at most `SECONDS`.

    Args:
        note: Told when the waiting begins and when it ends; None: nothing is tried again.
        leave: Asked whether the user wants to leave, for whom it is cut short.
    """

    def __init__(
        self, note: Callable[[str], None] | None = None, leave: Callable[[], bool] = stay
    ) -> None:
        self._note, self._leave = note, leave
        self._leaving: float | None = None  # since when
        self._lost: LeaseLostError | None = None
        self._spent = False  # after waiting in vain, whoever ends the search does not wait again

    def run(self, work: Callable[[], T], let_go: Callable[[], None]) -> T:
        """Return what `work` returns.

        Args:
            work: One transaction, which may be done twice without harm.
            let_go: Called before another try, to drop connections that are dead.

        Raises:
            AwayError: If nothing is to be tried again.
            LeaseLostError: If the study is another driver's by now.
            StoreError: If the database stayed away; or whatever else `work` raises.
            KeyboardInterrupt: If the user wants to leave and it stays away.
        """
        if self._lost is not None:  # the mirror has no lock of its own
            raise self._lost
        begun: float | None = None
        pause = FIRST_PAUSE
        while True:
            try:
                found = work()
            except AwayError as error:
                if self._note is None:
                    raise
                begun = self._begun(begun, error)
                if self._spent or time.monotonic() - begun + pause > SECONDS:
                    self._spent = True
                    raise _in_vain(error) from error
                let_go()
                self._wait(pause, self._note)
                pause = min(2 * pause, LONGEST_PAUSE)
            except LeaseLostError as error:
                self._lost = error
                raise
            else:
                if begun is not None and self._note is not None:
                    self._note(f"the database is back after {time.monotonic() - begun:.0f} s")
                return found

    def _begun(self, begun: float | None, error: AwayError) -> float:
        if begun is None and not self._spent and self._leaving is None:
            assert self._note is not None, "else it was raised"
            self._note(f"the database is away; trying again for {SECONDS:.0f} s ({error})")
        return time.monotonic() if begun is None else begun

    def _wait(self, pause: float, note: Callable[[str], None]) -> None:
        """Sleep for a pause; leave soon, once the user wants to.

        Raises:
            KeyboardInterrupt: After `LEAVE_SECONDS` of that, and at once from then on.
        """
        until = time.monotonic() + pause
        while (now := time.monotonic()) < until:
            if self._leaving is None and self._leave():
                self._leaving = now
                note(
                    f"leaving in {LEAVE_SECONDS:.0f} s whether the database is back or not; what "
                    "it does not have then is done again by the same command"
                )
            if self._leaving is not None and now - self._leaving >= LEAVE_SECONDS:
                raise KeyboardInterrupt
            time.sleep(min(until - now, LOOK_SECONDS))


def _in_vain(error: AwayError) -> StoreError:
    return StoreError(
        f"{error}; waited {SECONDS:.0f} s for it in vain. What was stored before is intact: run "
        "the same command again when it is back"
    )
