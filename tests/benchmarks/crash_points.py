"""A crash at each commit, fsync, rename and deletion of the write path, and the same search again.

A small search with pauses, promotions, safety checkpoints and finals runs once and every such call
is noted with the functions of `nas` that it came from. Then it runs again for each of them, in a
process that kills itself (SIGKILL) just before or just after that call, and once more to its end.
The result must be that of the undisturbed search to the last bit: rows, losses, summary, the files
in the study's folder, Optuna's mirror; every stored model must load with `verify`, and nothing that
was measured before the crash may be gone after it.

A place (function and kind of call) that is passed many times is crashed the first and the last
time; `--every` crashes each. Processes are forked from one that has imported everything.

    python tests/benchmarks/crash_points.py [--every] [--seconds 60] [--part 1/2]
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

sys.path.insert(0, str(Path(__file__).parents[1]))  # what tests share

import optuna  # its threads are set above
from sqlalchemy.engine.default import DefaultDialect
from tiny_study import plain_study, write_text

# What a search imports late is imported before the forks.
import nas
import nas.artifact.writing
import nas.driver
import nas.model
import nas.store.schema
import nas.strategies.auto
from nas.config import config_from_plain
from nas.executors.inline import InlineExecutor
from nas.records import Numerics
from nas.strategies import halving
from nas.training import loop

PACKAGE = str(Path(nas.__file__).parent)
CALLS = ("fsync", "replace", "rename", "unlink", "rmdir")  # of the module os
FRAMES = 3  # functions of nas that name a place
PASSING = ("study.db-wal", "study.db-shm")

Place = tuple[str, str]  # the kind of call, and the functions that lead there
Point = tuple[Place, int, str]  # which time, and before or after it


class Tracer:
    """Counts the calls of each place; kills this process at one of them."""

    def __init__(self, point: Point | None) -> None:
        self.point = point
        self.counts: Counter[Place] = Counter()
        self._lock = threading.Lock()

    def install(self) -> None:
        """Put this before every call of the write path in this process."""
        for name in CALLS:
            setattr(os, name, self._around(name, getattr(os, name)))
        DefaultDialect.do_commit = self._around("commit", DefaultDialect.do_commit)

    def _around(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def traced(*args: Any, **options: Any) -> Any:
            place = kind, _functions()
            with self._lock:
                self.counts[place] += 1
                here = place, self.counts[place]
            self._crash(*here, "before")
            found = call(*args, **options)
            self._crash(*here, "after")
            return found

        return traced

    def _crash(self, place: Place, count: int, side: str) -> None:
        if (place, count, side) == self.point:
            os.kill(os.getpid(), signal.SIGKILL)


def _functions() -> str:
    """Return the innermost functions of nas that lead here, the outermost of them first."""
    found: list[str] = []
    frame = sys._getframe(2)
    while frame is not None and len(found) < FRAMES:
        if frame.f_code.co_filename.startswith(PACKAGE):
            found.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return " > ".join(reversed(found))


# The search


def crash_study(folder: Path) -> dict[str, Any]:
    """Return a small study whose search has a bit of everything."""
    text = folder / "words.txt"
    if not text.exists():
        write_text(text)
    return plain_study(
        text,
        recipe={"context": 16, "batch": 8, "rate": 0.01, "precision": "fp32"},
        per_candidate={"tokens": 1024, "rungs": [256, 512, 1024], "eta": 2},
        finalists={"top": 1, "seeds": 1},
        stop={"candidates": 6},
        strategy="auto",
        keep=1,
    )


def search(folder: Path, place: Path, tracer: Tracer | None) -> None:
    """Search in a studies folder; what depends on the clock is fixed."""
    os.environ["NAS_STUDIES"] = str(place)
    fixed = Numerics(device="cpu", precision="fp32", attention="sdpa", threads=1)
    InlineExecutor.probe = lambda _self, _job: fixed
    halving.FIRST_FULL = 2

    def beat(pulse: Any) -> None:  # a safety checkpoint every third step, not every minute
        if pulse._training.state.step % 3 == 0:
            pulse._send(time.perf_counter(), pulse._save())

    loop._Pulse.beat = beat
    if tracer is not None:
        tracer.install()
    nas.search(config_from_plain(crash_study(folder), where="benchmark", name="crash"))


# What it left


def table(place: Path) -> dict[str, Any]:
    """Return all of a study that has to be the same; its models are loaded and verified."""
    study = nas.open_study(place / "crash")
    rows = study.trials()
    for row in rows:
        if row.model_path is not None:
            nas.load(study.folder / row.model_path, verify=True)
    keep = ("number", "role", "state", "tokens", "model_path", "error", "parameters", "metrics")
    summary = dict(study.summary() or {})
    del summary["elapsed_seconds"]
    return {
        "state": study.record.state,
        "summary": summary,
        "candidates": {
            row.candidate_id: {
                **{name: getattr(row, name) for name in keep},
                "checkpoint": row.checkpoint and (row.checkpoint.uri, row.checkpoint.tokens),
            }
            for row in rows
        },
        "measured": stored_measurements(place / "crash" / "study.db"),
        "mirror": _mirror(study.folder / "study.db"),
        "files": sorted(
            path.relative_to(study.folder).as_posix()
            for path in study.folder.rglob("*")
            if path.is_file() and path.name not in PASSING
        ),
    }


def stored_measurements(database: Path) -> list[list[Any]]:
    """Return candidate, rung, tokens and every metric of each stored measurement."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT candidate_id, rung, tokens, split, name, value FROM nas_evaluation "
            "JOIN nas_metric USING (study_id, candidate_id, rung) ORDER BY 1, 2, 4, 5"
        )
        return [list(row) for row in rows]


def _mirror(database: Path) -> list[Any]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = optuna.load_study(study_name="crash", storage=f"sqlite:///{database}").trials
    return sorted(
        [t.user_attrs["candidate_id"], t.state.name, t.values, t.params, t.intermediate_values]
        for t in trials
    )


def measured_so_far(database: Path) -> list[list[Any]]:
    """Return the stored measurements of a search that crashed, none before there are tables."""
    try:
        return stored_measurements(database) if database.exists() else []
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise


# Processes


def forked(work: Callable[[], Any], answer: Path) -> int:
    """Run work in a child, its result to a file; return its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            answer.write_text(json.dumps(work()), encoding="utf-8")
            status = 0
        except BaseException:
            answer.write_text(json.dumps({"failed": traceback.format_exc()}), encoding="utf-8")
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def undisturbed(folder: Path) -> tuple[Any, list[tuple[Place, int]]]:
    """Run the search once; return what it left and how often it passed each place."""

    def work() -> Any:
        tracer = Tracer(None)
        search(folder, folder / "whole", tracer)
        counts = [[list(place), count] for place, count in tracer.counts.items()]
        return {"table": table(folder / "whole"), "counts": counts}

    status = forked(work, folder / "whole.json")
    found = json.loads((folder / "whole.json").read_text())
    assert status == 0, found["failed"]
    return found["table"], [((kind, names), count) for (kind, names), count in found["counts"]]


def crashed(folder: Path, point: Point, wanted: Any) -> str:
    """Crash at a point, search again, and return what is wrong then; `-`: it never came there."""
    place = folder / "crashed"
    shutil.rmtree(place, ignore_errors=True)
    answer = folder / "answer.json"
    status = forked(partial(search, folder, place, Tracer(point)), answer)
    if status == 0:
        return "-"
    if status != -signal.SIGKILL:
        return f"instead of a crash: {json.loads(answer.read_text())['failed']}"
    before = measured_so_far(place / "crash" / "study.db")
    for left in place.rglob("*.tmp"):  # the same search is not called within the same minute
        os.utime(left, (0, 0))

    def again() -> Any:
        search(folder, place, None)
        return table(place)

    if forked(again, answer) != 0:
        return f"the same search again: {json.loads(answer.read_text())['failed']}"
    found = json.loads(answer.read_text())
    gone = [one for one in before if one not in found["measured"]]
    if gone:
        return f"measured before the crash and gone: {gone[0]}"
    return _difference(found, wanted)


def _difference(found: Any, wanted: Any, where: str = "") -> str:
    """Return where two tables differ; empty: nowhere."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in sorted({*found, *wanted}):
            inner = _difference(found.get(name), wanted.get(name), f"{where}/{name}")
            if inner:
                return inner
        return ""
    if found == wanted:
        return ""
    if isinstance(found, list) and isinstance(wanted, list):
        more, less = ([o for o in a if o not in b] for a, b in ((found, wanted), (wanted, found)))
        return f"{where}: {more[:3]} instead of {less[:3]}"
    return f"{where}: {found} instead of {wanted}"


def points_of(counts: list[tuple[Place, int]], *, every: bool) -> list[Point]:
    """Return the crashes to try."""
    return [
        (place, number, side)
        for place, count in counts
        for number in (range(1, count + 1) if every else sorted({1, count}))
        for side in ("before", "after")
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", action="store_true", help="each time that a place is passed")
    parser.add_argument("--seconds", type=float, help="end after so long; points are shuffled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="places that hold this text")
    parser.add_argument("--part", default="1/1", help="1/2 and 2/2 are halves, to run side by side")
    args = parser.parse_args()
    part, parts = map(int, args.part.split("/"))
    begun, bad, missed, tried = time.monotonic(), 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted, counts = undisturbed(folder)
        points = [p for p in points_of(counts, every=args.every) if args.only in " ".join(p[0])]
        random.Random(args.seed).shuffle(points)
        points = points[part - 1 :: parts]
        for point in points:
            if args.seconds is not None and time.monotonic() - begun > args.seconds:
                break
            problem = crashed(folder, point, wanted)
            tried += 1
            missed += problem == "-"
            if problem not in ("", "-"):
                bad += 1
                (kind, names), number, side = point
                print(f"{side} {kind} {number} of {names}:\n  {problem}", flush=True)
    print(f"{sum(count for _, count in counts)} calls at {len(counts)} places; {tried} of "
          f"{len(points)} crashes tried in {time.monotonic() - begun:.0f} s, {missed} never came "
          f"to their place, {bad} went wrong")  # fmt: skip
    return 1 if bad or missed > 1 + tried // 20 or not tried else 0


if __name__ == "__main__":
    sys.exit(main())
