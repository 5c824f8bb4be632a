"""Real searches on a text side by side: `auto`, two scripts with Optuna, and random draws.

    python tests/benchmarks/live_search.py --data input.txt [--minutes 6] [--seeds 3] [--workers 2]

All search models of at most a million parameters, each trained on the same number of tokens, and
measure the same part of the same validation split in nats a byte, after the same parts of those
tokens (our trainer reads less of it before the last one); the contenders take turns, seed by seed.
`auto` and `random` are `nas.search`, with and without pauses; `tutorial` and `tpe-hyperband` are
scripts, in `optuna_scripts.py`. A point is any validation loss that a contender was told of, of a
paused candidate or a pruned trial too. What a run recommends is the best of those at the full
budget, if there is one. The clock starts before a contender's processes do (data is prepared within
it by `nas.search`, before it for the scripts), and nothing that comes after its minutes counts.

Printed: the best loss so far at parts of the time, the part of its time after which `auto` passed
the last loss of each other one, and the test loss of what each recommends, trained anew from fresh
seeds by its own trainer. With `--folder` runs are kept, and those that are there are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna_scripts
from optuna_scripts import PARTS as WHOLE
from optuna_scripts import POINTS, REPORTS, Config, Setting, Work, note, test_loss

import nas
from nas.config import StudyConfig, config_from_plain
from nas.driver.events import CandidateEnded, CandidateStarted
from nas.errors import NasError
from nas.records import Progress
from nas.tasks.language_modeling import LanguageModeling

PARTS = (1 / 20, 1 / 10, 1 / 4, 1 / 2.5, 1)  # of the time
DONE = "run.json"  # in a run's folder, written last
FRESH = 1000  # seeds of the trainings at the end, beyond those of any search


@dataclass(kw_only=True)
class Run:
    """One search of one contender.

    Attributes:
        settings: What must be the same for a kept run to stand for this one.
        points: Measurements by time (see `optuna_scripts.note`), those in time alone.
        cpu_seconds: What all its processes used; far less than minutes and workers offer means
            that others had the machine, and the run compares with none.
        test_losses: Of what the run recommends, one a fresh seed.
    """

    contender: str
    seed: int
    settings: dict[str, Any]
    points: list[dict[str, Any]] = field(default_factory=list)
    cpu_seconds: float = 0.0
    test_losses: list[float] = field(default_factory=list)

    def best_at(self, seconds: float) -> float:
        """Return the best loss until then; infinite if there is none."""
        return min((p["loss"] for p in self.points if p["seconds"] <= seconds), default=math.inf)

    @property
    def best(self) -> float:
        return self.best_at(math.inf)

    @property
    def recommended(self) -> Config | None:
        full = [point for point in self.points if point["full"]]
        best = min(full or self.points, key=lambda point: point["loss"], default=None)
        return best["config"] if best else None

    def passes(self, loss: float) -> float:
        """Return the seconds after which a loss was beaten; infinite if never."""
        return next((p["seconds"] for p in self.points if p["loss"] < loss), math.inf)


def rungs(tokens: int) -> list[int]:
    """Return the parts of a budget at which the scripts report."""
    return [tokens * part // WHOLE for part in REPORTS]


def study_config(setting: Setting, **changes: Any) -> StudyConfig:
    plain = {
        "format_version": 1,
        "space": setting.space,
        "task": {"name": "language_modeling", "data": setting.data},
        "per_candidate": {"tokens": setting.tokens, "rungs": rungs(setting.tokens)},
        "finalists": {"top": 0, "seeds": 1},
        "executor": "processes",
        "device": "cpu",
        **changes,
    }
    return config_from_plain(plain, where="benchmark", name="live")


def search_ours(
    run: Run, args: argparse.Namespace, setting: Setting, folder: Path, **changes: Any
) -> None:
    """Run `nas.search` and note what is measured."""
    begun = time.time()
    shapes: dict[str, Config] = {}
    known: dict[str, float] = {}  # the last measurement of each candidate

    def listen(event: object) -> None:
        if isinstance(event, CandidateStarted):
            shapes[event.candidate_id] = dict(event.architecture.shape)
        elif isinstance(event, Progress) and event.val_loss is not None:
            candidate, loss = event.candidate_id, event.val_loss
            if loss != known.get(candidate):
                known[candidate] = loss
                note(folder, begun, loss=loss, full=False, config=shapes[candidate])
        elif isinstance(event, CandidateEnded) and event.value is not None:
            config = shapes[event.outcome.candidate_id]
            note(folder, begun, loss=event.value, full=True, config=config)

    stop = {"minutes": args.minutes, "candidates": None}
    more = {"strategy": run.contender, "workers": args.workers, "seed": run.seed, "stop": stop}
    os.environ["NAS_STUDIES"] = str(folder)
    try:
        nas.search(study_config(setting, **more, **changes), listener=listen)
    except NasError as error:  # a search that completed nothing has no points
        print(f"{run.contender}: {error}", flush=True)


def search_optuna(run: Run, args: argparse.Namespace, setting: Setting, folder: Path) -> None:
    """Run the worker processes of a script until the time is over."""
    begun, seconds = time.time(), args.minutes * 60
    works = [
        Work(
            script=run.contender,
            folder=str(folder),
            seed=run.seed,
            worker=worker,
            factor=args.factor,
            begun=begun,
            seconds=seconds,
        )
        for worker in range(args.workers)
    ]
    processes = [_start(setting, work) for work in works]
    try:
        while (left := begun + seconds - time.time()) > 0:
            if any(process.poll() for process in processes):
                raise SystemExit(f"{run.contender}, seed {run.seed}: a worker failed; see above")
            time.sleep(min(0.5, left))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(setting: Setting, work: Work) -> subprocess.Popen[bytes]:
    told = json.dumps({"setting": asdict(setting), "work": asdict(work)})
    return subprocess.Popen([sys.executable, optuna_scripts.__file__, told])


def search_auto(run: Run, args: argparse.Namespace, setting: Setting, folder: Path) -> None:
    search_ours(run, args, setting, folder)


def search_random(run: Run, args: argparse.Namespace, setting: Setting, folder: Path) -> None:
    """Train every draw to the end; it need not be measured before."""
    budget = {"tokens": setting.tokens, "rungs": [setting.tokens], "eta": 1}
    search_ours(run, args, setting, folder, per_candidate=budget)


CONTENDERS: dict[str, Callable[..., None]] = {
    "auto": search_auto,
    "tutorial": search_optuna,
    "tpe-hyperband": search_optuna,
    "random": search_random,
}


def search(run: Run, args: argparse.Namespace, setting: Setting, place: Path) -> Run:
    """Run a search, or read the one that the place holds."""
    folder = place / f"{run.contender}-{run.seed}"
    if (folder / DONE).exists():
        kept = Run(**json.loads((folder / DONE).read_text()))
        if kept.settings != run.settings:
            raise SystemExit(f"{folder}: ran with {kept.settings}; choose another --folder")
        return kept
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = sum(os.times()[:4])  # of this process and of children that ended
    CONTENDERS[run.contender](run, args, setting, folder)
    run.cpu_seconds = round(sum(os.times()[:4]) - before, 1)
    lines = (folder / POINTS).read_text().splitlines() if (folder / POINTS).exists() else []
    points = sorted((json.loads(line) for line in lines), key=lambda point: point["seconds"])
    run.points = [point for point in points if point["seconds"] <= args.minutes * 60]
    (folder / DONE).write_text(json.dumps(asdict(run)))
    return run


def search_all(args: argparse.Namespace, setting: Setting, place: Path) -> list[Run]:
    names = ("data", "tokens", "minutes", "workers", "factor")
    settings = {name: getattr(args, name) for name in names}
    runs = []
    for seed in range(args.seeds):
        for name in args.only or CONTENDERS:
            run = Run(contender=name, seed=seed, settings=settings)
            run = search(run, args, setting, place)
            runs.append(run)
            share = run.cpu_seconds / (args.minutes * 60 * args.workers)
            print(f"{name:14} seed {seed}: {spread([run.best])} after {len(run.points)} points, "
                  f"{100 * share:.0f} % of the CPU time of its workers", flush=True)  # fmt: skip
    return runs


def retrain(runs: Sequence[Run], args: argparse.Namespace, setting: Setting) -> None:
    """Train what each run recommends from fresh seeds and keep the test losses."""
    runs = [run for run in runs if run.recommended]
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        jobs = {
            (run.contender, run.seed, turn): pool.submit(
                test_loss, run.contender, setting, run.recommended, FRESH * (run.seed + 1) + turn
            )
            for turn in range(args.retrain)
            for run in runs
        }
        for run in runs:
            found = [jobs[run.contender, run.seed, turn] for turn in range(args.retrain)]
            run.test_losses = [job.result() for job in found]


def by_contender(runs: Sequence[Run]) -> dict[str, list[Run]]:
    names = dict.fromkeys(run.contender for run in runs)
    return {name: [run for run in runs if run.contender == name] for name in names}


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation; a star where some of the values are not there."""
    there = [value for value in values if math.isfinite(value)]
    if not there:
        return "-"
    deviation = f" ±{statistics.stdev(there):.3f}" if len(there) > 1 else ""
    return f"{statistics.fmean(there):.3f}{deviation}{'*' if len(there) < len(values) else ''}"


def report_losses(groups: dict[str, list[Run]], seconds: float) -> None:
    print(f"\nbest validation loss so far, nats a byte, at parts of {seconds:.0f} s "
          "(* not of every seed)")  # fmt: skip
    print(
        f"{'':14}" + "".join(f"{f'1/{1 / part:g}':>15}" for part in PARTS) + f"{'to the end':>13}"
    )
    for name, runs in groups.items():
        cells = [spread([run.best_at(part * seconds) for run in runs]) for part in PARTS]
        full = statistics.fmean(sum(point["full"] for point in run.points) for run in runs)
        print(f"{name:14}" + "".join(f"{cell:>15}" for cell in cells) + f"{full:13.1f}")


def report_shares(groups: dict[str, list[Run]], seconds: float) -> dict[str, list[float]]:
    """Print and return after which part of its time `auto` had passed each other one's last loss.

    A run is compared with that of the same seed; infinite: not passed in time.
    """
    autos = {run.seed: run for run in groups.get("auto", ())}
    shares = {
        name: [autos[run.seed].passes(run.best) / seconds for run in runs if run.seed in autos]
        for name, runs in groups.items()
        if name != "auto" and autos
    }
    if shares:
        print("\npart of the time after which auto had passed the last loss of (inf: not in time)")
    for name, found in shares.items():
        each = ", ".join(f"{share:.3f}" for share in found)
        print(f"{name:14} median {statistics.median(found):.3f} ({each})")
    return shares


def report_tests(groups: dict[str, list[Run]]) -> None:
    print("\ntest loss of what each recommends, trained from fresh seeds")
    for name, runs in groups.items():
        means = [spread(run.test_losses) for run in runs]
        everything = [loss for run in runs for loss in run.test_losses]
        print(f"{name:14} {spread(everything)} (by search: {', '.join(means)})")
        for run in runs:
            print(f"{'':14} seed {run.seed}: {run.recommended}")


def plot(groups: dict[str, list[Run]], seconds: float, path: Path) -> None:
    """Draw the mean of the best losses so far, once all seeds have one, and their range."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    times = np.linspace(0, seconds, 1000)
    for name, runs in groups.items():
        values = np.array([[run.best_at(at) for at in times] for run in runs])
        known = np.isfinite(values).all(0)
        if not known.any():
            continue
        at, values = times[known] / 60, values[:, known]
        width = 2.4 if name == "auto" else 1.2
        (line,) = axes.plot(at, values.mean(0), label=name, lw=width)
        axes.fill_between(at, values.min(0), values.max(0), color=line.get_color(), alpha=0.2)
    axes.set(xlabel="minutes", ylabel="best validation loss, nats a byte", xlim=(0, seconds / 60))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:python-docs", help="a text")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=500_000, help="of one training")
    parser.add_argument("--factor", type=int, default=3, help="of Hyperband")
    parser.add_argument("--retrain", type=int, default=3, help="fresh seeds; 0: none")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, help="contenders")
    parser.add_argument("--folder", type=Path, help="where runs are kept")
    parser.add_argument("--json", type=Path, help="where everything measured goes")
    parser.add_argument("--plot", type=Path, help="a PNG; needs matplotlib")
    return parser.parse_args()


def compare(args: argparse.Namespace, place: Path) -> None:
    prepared = place / "data"
    setting = Setting(data=args.data, prepared=str(prepared), tokens=args.tokens)
    LanguageModeling.prepare(study_config(setting).request, prepared)
    runs, seconds = search_all(args, setting, place), args.minutes * 60
    if args.retrain:
        retrain(runs, args, setting)
    groups = by_contender(runs)
    report_losses(groups, seconds)
    shares = report_shares(groups, seconds)
    if args.retrain:
        report_tests(groups)
    if args.json:
        finite = {name: [share if math.isfinite(share) else None for share in found]
                  for name, found in shares.items()}  # fmt: skip
        found = {"runs": [asdict(run) for run in runs], "auto_passed": finite}
        args.json.write_text(json.dumps(found, indent=1))
    if args.plot:
        plot(groups, seconds, args.plot)


def main() -> None:
    args = parse()
    with tempfile.TemporaryDirectory() as temporary:
        compare(args, (args.folder or Path(temporary)).absolute())


if __name__ == "__main__":
    main()
