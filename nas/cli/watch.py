"""`nas watch`: a search that another process runs, shown by what its database says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import terminal
from nas.cli.choosing import StudyArgument, find_study, study_name
from nas.wording import measure, several

if TYPE_CHECKING:
    from nas.driver.onlooking import Onlooker, View
    from nas.store.rows import CandidateRow
    from nas.study import Study

LOOK_SECONDS = 1.0  # between two looks: the driver writes every two seconds
PLAIN_SECONDS = 15.0  # between two lines of progress where nothing is redrawn
LATEST = 5  # candidates that had ended before, shown at the beginning


def watch(
    study: StudyArgument = None,
    once: Annotated[
        bool, typer.Option("--once", help="Show how it stands now, and leave.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The same as one JSON object, for programs.")
    ] = False,
) -> None:
    """Watch a search that runs in another terminal.

    Only its database is read, so nothing here disturbs it: Ctrl-C leaves, and the search goes on.
    Ends when the search does, or says that nobody runs it.
    """
    from nas.driver.onlooking import Onlooker
    from nas.store.store import Store

    found, how = find_study(study)
    with Store.open(found.url) as store:
        onlooker = Onlooker(found, store)
        if as_json:
            _show_json(found, onlooker.look())
            return
        terminal.heading(how)
        if once:
            _show_once(found, onlooker.look())
            return
        try:
            last = (_watch_live if terminal.live() else _watch_plainly)(found, onlooker)
        except KeyboardInterrupt:
            terminal.say("left; the search goes on without you")
            return
    _show_end(found, last)


def _watch_live(study: Study, onlooker: Onlooker) -> View:
    from nas.cli.region import Region
    from nas.cli.standing import frame

    lines = _Lines(study)
    with Region(terminal.width) as region:
        while True:
            view = onlooker.look()
            for line in lines.news(onlooker, view):
                region.above(terminal.harmless(line))
            if view.is_over:
                return view
            region.draw(frame(view.standing, terminal.width(), terminal.height()))
            time.sleep(LOOK_SECONDS)


def _watch_plainly(study: Study, onlooker: Onlooker) -> View:
    from nas.cli.standing import under_way

    lines = _Lines(study)
    written = -PLAIN_SECONDS
    while True:
        view = onlooker.look()
        for line in lines.news(onlooker, view):
            terminal.say(line)
        if view.is_over:
            return view
        if time.monotonic() - written >= PLAIN_SECONDS:
            terminal.say(f"     {under_way(view.standing)}")
            written = time.monotonic()
        time.sleep(LOOK_SECONDS)


class _Lines:
    """The lines of candidates that have ended, each told once."""

    def __init__(self, study: Study) -> None:
        self._objective = study.objectives[0]
        self._best: float | None = None
        self._told: tuple[object, ...] | None = None  # what the standing said at the last news

    def news(self, onlooker: Onlooker, view: View) -> list[str]:
        """Return lines of what has ended since; the database is asked only if anything has."""
        now = (view.standing.ended, view.standing.done, view.record.state, view.age is None)
        if now == self._told:
            return []
        is_first, self._told = self._told is None, now
        lines = [self._line(row) for row in onlooker.news()]
        return lines[-LATEST:] if is_first else lines

    def _line(self, row: CandidateRow) -> str:
        from nas.cli.standing import Ended, ended_line
        from nas.tasks.metrics import badness

        ended = Ended.of_row(row, self._objective)
        is_best = False
        if row.state == "complete" and row.role == "search" and ended.value is not None:
            worth = badness(ended.value, self._objective)
            is_best = self._best is None or worth < self._best
            self._best = worth if is_best else self._best
        return ended_line(ended, is_best=is_best)


def _show_once(study: Study, view: View) -> None:
    """Write one state, as the redrawn lines have it."""
    from nas.cli.standing import footer, running_line

    if not view.is_over:
        terminal.say(view.worker)
        for one in view.standing.running:
            terminal.say(running_line(one, terminal.width()))
        terminal.say(footer(view.standing, terminal.width()))
        return
    _show_end(study, view)


def _show_end(study: Study, view: View) -> None:
    """Write how a search ended that nobody runs any more, and what to do next."""
    name, standing = study_name(study), view.standing
    best = "" if standing.best is None else f", best {measure(standing.best)}"
    tried = f"{several(standing.done, 'candidate')}{best}"
    if view.record.state == "finished":
        terminal.say(f"the search is finished: {tried}; see: nas show {name}")
    elif view.record.state == "interrupted":
        terminal.say(f"the search was stopped: {tried}; it goes on with: nas search {name}")
    else:
        terminal.say(
            f"nobody runs this search: it ended without a word; {tried}; it goes on with: "
            f"nas search {name}"
        )


def _show_json(study: Study, view: View) -> None:
    from nas.cli.tables import show_json
    from nas.records import to_plain

    standing = view.standing
    plain: dict[str, Any] = {
        "study": study.name,
        "state": view.record.state,
        "running": not view.is_over,
        "worker": view.worker or None,
        "objective": study.objectives[0],
        "age_seconds": view.age,
    }
    for field in ("done", "limit", "slots", "best", "reference", "elapsed", "remaining"):
        plain[field] = getattr(standing, field)
    plain |= {"candidates_per_hour": standing.per_hour, "finals": standing.finals}
    plain["finals_done"] = standing.finals_done
    plain["candidates"] = [
        {
            **to_plain(one),
            "loss": one.loss,
            "share": one.share,
            "tokens_per_second": one.tokens_per_second,
            "seconds_left": one.eta,
        }
        for one in standing.running
    ]
    show_json(plain)
