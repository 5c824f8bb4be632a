"""A listener that presses Ctrl-C in the midst of a training, once: a second one leaves at once."""

from __future__ import annotations

import signal
from collections.abc import Callable

from nas.driver.events import Event
from nas.records import Progress


def at_first_progress() -> Callable[[Event], None]:
    heard: list[Progress] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            heard.append(event)
            if len(heard) == 1:
                signal.raise_signal(signal.SIGINT)

    return listen
