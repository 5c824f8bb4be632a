"""A search under a random kill -9 of its driver, of a worker or of both, every few seconds.

`nas search` of 200 short candidates in worker processes, all their weights kept; whenever it was
killed the same command is typed again. At the end each candidate must be there once, nothing that
was stored before a kill may be missing or changed, every stored folder must load with `verify`,
nothing else may lie about, and Optuna's mirror must show every candidate once. No worker may
outlive its driver by ten seconds. Exit status 1 if any of this fails.

    python tests/benchmarks/chaos.py [--runs 5] [--candidates 200] [--seed 0]
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # what tests share

import optuna
from pids import kill, lives, workers_of
from tiny_study import MANY, plain_study, write_text

import nas
from nas.errors import NasError

ORPHAN_SECONDS = 10.0
VICTIMS = ("driver", "worker", "both")
LONGEST_ROUND = 300.0  # seconds without an end, which is a hang

Measured = dict[tuple[str, int], float]


class Chaos:
    """One search and who kills it."""

    def __init__(
        self, folder: Path, *, candidates: int, eta: int, seed: int, pause: tuple[float, float]
    ) -> None:
        self.folder, self.candidates, self.eta = folder, candidates, eta
        self.luck, self.pause = random.Random(seed), pause
        self.stretch = 1.0  # of the pauses, on a machine too busy to come to anything in them
        self.kills: Counter[str] = Counter()
        self.starts = self.orphans = 0
        self.seen: Measured = {}  # measurements that were stored at some kill
        self.problems: list[str] = []

    @property
    def database(self) -> Path:
        return self.folder / "studies" / "chaos" / "study.db"

    def run(self) -> None:
        """Start the search again until it comes to its end."""
        self._write_study()
        status = None
        while status != 0:
            self.starts += 1
            with (self.folder / "said.txt").open("ab") as said:
                command = [sys.executable, "-m", "nas", "search", "chaos.yaml"]
                driver = subprocess.Popen(
                    command, cwd=self.folder, stdout=said, stderr=said, env=self._environment()
                )
                status = self._disturb(driver)
            if status not in (0, -signal.SIGKILL) and not self._killed_while_probing():
                self.problems.append(f"the search ended with status {status}")
                return
            self._compare_with_before()

    def _killed_while_probing(self) -> bool:
        """Say whether it ended since a worker was killed before the search had begun."""
        return b"a worker ended before it began" in (self.folder / "said.txt").read_bytes()[-500:]

    def _disturb(self, driver: subprocess.Popen) -> int:
        """Kill someone now and then until the driver has ended; return its status."""
        until = time.monotonic() + LONGEST_ROUND
        while time.monotonic() < until:
            try:
                return driver.wait(self.luck.uniform(*self.pause) * self.stretch)
            except subprocess.TimeoutExpired:
                self._kill(driver, self.luck.choice(VICTIMS))
        driver.kill()
        self.problems.append(f"no end within {LONGEST_ROUND:.0f} s")
        return driver.wait()

    def _kill(self, driver: subprocess.Popen, victim: str) -> None:
        workers = workers_of(driver.pid)
        if victim != "driver" and workers:
            for pid in workers if victim == "both" else [self.luck.choice(workers)]:
                kill(pid)
        if victim == "worker":
            self.kills[victim] += bool(workers)
            return
        self.kills[victim] += 1
        driver.kill()
        driver.wait()
        until = time.monotonic() + ORPHAN_SECONDS
        while (left := [pid for pid in workers if lives(pid)]) and time.monotonic() < until:
            time.sleep(0.1)
        self.orphans += len(left)

    def _compare_with_before(self) -> None:
        """See that what was stored at the last end is there and as it was."""
        now = measured(self.database)
        lost = [key for key, value in self.seen.items() if now.get(key) != value]
        if lost:
            self.problems.append(f"{len(lost)} measurements lost or changed, such as {lost[0]}")
        self.stretch = 1.0 if len(now) > len(self.seen) else self.stretch * 1.5
        self.seen = now

    def _environment(self) -> dict[str, str]:
        root = str(Path(nas.__file__).parents[1])
        return {**os.environ, "NAS_STUDIES": str(self.folder / "studies"), "PYTHONPATH": root}

    def _write_study(self) -> None:
        plain = plain_study(
            write_text(self.folder / "words.txt"),
            space=MANY,
            per_candidate={"tokens": 2048, "eta": self.eta},
            finalists={"top": 2, "seeds": 1},
            stop={"candidates": self.candidates},
            executor="processes",
            workers=2,
            keep=self.candidates,
        )
        (self.folder / "chaos.yaml").write_text(json.dumps(plain), encoding="utf-8")

    def check(self) -> dict[str, int]:
        """Look at what is there and return counts; what is wrong is noted."""
        study = nas.open_study(self.folder / "studies" / "chaos")
        rows = study.trials(role="search")
        failed = [r for r in rows if r.state not in ("complete", "paused")]
        self._expect("failed", [f"{r.candidate_id} {r.state}: {r.error}" for r in failed], [])
        self._expect("numbers", sorted(r.number for r in rows), list(range(self.candidates)))
        self._expect("shapes", len({r.architecture_id for r in rows}), self.candidates)
        unreadable = self._load(study)
        self._files(study)
        shown = [t.user_attrs["candidate_id"] for t in self._mirror()]
        wanted = [r.candidate_id for r in rows if r.state != "paused" or r.checkpoint is None]
        self._expect("candidates in Optuna's mirror", sorted(shown), sorted(wanted))
        self._expect("workers that outlived their driver", self.orphans, 0)
        return {
            "finished": len(rows) - len(failed),
            "failed": len(failed),
            "lost": self.candidates - len(rows),
            "doubled": len(rows) - len({r.architecture_id for r in rows}),
            "unreadable folders": unreadable,
            "folders": sum(r.model_path is not None for r in study.trials(role=None)),
        }

    def _load(self, study: nas.Study) -> int:
        unreadable = 0
        for row in study.trials(role=None):
            if row.model_path is not None:
                try:
                    nas.load(study.folder / row.model_path, verify=True)
                except NasError as error:
                    unreadable += 1
                    self.problems.append(str(error))
        return unreadable

    def _files(self, study: nas.Study) -> None:
        """Expect in the folder what the database names and nothing else."""
        rows = study.trials(role=None)
        models = sorted(r.model_path for r in rows if r.model_path)
        checkpoints = sorted(r.checkpoint.uri for r in rows if r.checkpoint)
        for name, wanted in (("models", models), ("checkpoints", checkpoints)):
            found = sorted(f"{name}/{path.name}" for path in (study.folder / name).iterdir())
            self._expect(name, found, wanted)

    def _mirror(self) -> list[optuna.trial.FrozenTrial]:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        loaded = optuna.load_study(study_name="chaos", storage=f"sqlite:///{self.database}")
        return loaded.get_trials(deepcopy=False)

    def _expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.problems.append(f"{what}: {str(found)[:300]} instead of {str(wanted)[:300]}")


def measured(database: Path) -> Measured:
    """Return the stored losses by candidate and rung; none before there are tables."""
    if not database.exists():
        return {}
    with closing(sqlite3.connect(database)) as connection:
        try:
            rows = connection.execute(
                "SELECT candidate_id, rung, value FROM nas_evaluation "
                "JOIN nas_metric USING (study_id, candidate_id, rung) "
                "WHERE split = 'val' AND name = 'loss'"
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return {}
            raise
    found = {(candidate, rung): value for candidate, rung, value in rows}
    assert len(found) == len(rows), "a rung of a candidate is there twice"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause", type=float, nargs=2, default=(2.0, 12.0), metavar="SECONDS")
    args = parser.parse_args()
    bad = 0
    for turn in range(args.runs):
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            chaos = Chaos(
                Path(folder),
                candidates=args.candidates,
                eta=1 if turn % 2 == 0 else 3,  # by turns without pauses and with them
                seed=args.seed + turn,
                pause=tuple(args.pause),
            )
            chaos.run()
            found = chaos.check() if not chaos.problems else {}
            counts = ", ".join(f"{value} {name}" for name, value in found.items())
            print(f"run {turn + 1}: {time.monotonic() - begun:.0f} s, started {chaos.starts} "
                  f"times, killed {dict(chaos.kills)}: {counts}", flush=True)  # fmt: skip
            for problem in chaos.problems:
                print(f"  {problem}")
            if chaos.problems:
                print((Path(folder) / "said.txt").read_text(errors="replace")[-2000:])
        bad += bool(chaos.problems)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
