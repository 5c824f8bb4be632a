"""Whole searches replayed on recorded trainings, by a simulated clock.

    python tests/benchmarks/replay_training.py [--table trained.csv] [--seeds 200] [--jobs 2]

A table of `record_training.py` says what every training measured at its rungs and the CPU seconds
that it took. Here strategies and rung rules search its shapes with one worker: a job takes its
recorded seconds (and a twentieth of one beside), a rule sees what it would have seen. All trainings
of a replay have the same recorded seed, as in a study.

Printed for each contender, over the replays: the time until the best complete candidate's mean loss
over the recorded seeds is within .005 of the best there is (one that never comes there counts as
the time of all trainings), and the regret of that candidate at shares of that time. With `--share`
each replay has another random part of the shapes, so that no one shape decides.

`auto` and `random` propose as `nas` does and pause at the rungs of `--rungs`; `-full` trains all
to the end. `tpe-hyperband` is Optuna's TPESampler with its HyperbandPruner (`--factor`), asked and
told as a script would: shapes beyond the limit are pruned at no cost, the others are the nearest
recorded shape that is new. `tpe-full` is the same without a pruner.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from replay import Row, TableSpace, row_architecture, standard_error

from nas.config import config_from_plain
from nas.records import TaskSpec
from nas.space import BoundSpace
from nas.strategies import Observation, make_strategy
from nas.strategies.halving import Halving

TABLE = Path(__file__).with_name("recorded_llama_small.csv")
SPACE, VOCAB, CONTEXT, BATCH = "llama_small", 257, 64, 12
DIMENSIONS = ("n_layer", "d_model", "n_head", "n_kv_head", "d_ff")
NEAR = 0.005  # nats from the best mean loss
BESIDE = 0.05  # seconds a job that are neither training nor validation
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)  # of the time of all trainings
FULL, LOSS, TRAIN, VALIDATE = -1, 0, 1, 2  # the last rung; the columns of a trace

Curve = list[tuple[float, float]]  # when a better candidate was complete, and its regret


@dataclass(frozen=True)
class Recorded:
    """A shape, and what its trainings measured: arrays (seed, rung, column)."""

    row: Row
    traces: np.ndarray


@cache
def read(path: Path) -> tuple[Recorded, ...]:
    """Return the shapes of which every seed is there."""
    found: dict[str, dict[str, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    rows: dict[str, dict[str, str]] = {}
    with path.open(newline="") as lines:
        for line in csv.DictReader(lines):
            rows[line["architecture_id"]] = line
            numbers = (line["val_loss"], line["train_cpu_seconds"], line["val_cpu_seconds"])
            found[line["architecture_id"]][line["seed"]].append(tuple(map(float, numbers)))
    most = max(len(seeds) for seeds in found.values())
    whole = {key: list(seeds.values()) for key, seeds in found.items() if len(seeds) == most}
    return tuple(_recorded(rows[key], np.array(traces)) for key, traces in whole.items())


def _recorded(line: Mapping[str, str], traces: np.ndarray) -> Recorded:
    if not line["n_kv_head"]:  # every head has its own
        line = {**line, "n_kv_head": line["n_head"]}
    row = Row(
        shape={name: int(line[name]) for name in DIMENSIONS},
        params=int(float(line["params"])),
        non_embedding_params=int(float(line["non_embedding_params"])),
        loss=float(traces[:, FULL, LOSS].mean()),
    )
    return Recorded(row, traces)


class Replay:
    """One replay: the traces of one recorded seed, a clock, and the best complete candidate.

    Args:
        table: The recorded shapes.
        seed: Decides the recorded seed.
    """

    def __init__(self, table: Sequence[Recorded], seed: int) -> None:
        self.space = TableSpace([one.row for one in table], (), {"head_dim": 32})
        chosen = seed % len(table[0].traces)
        self.traces = {row_architecture(one.row).id: one.traces[chosen] for one in table}
        self.clock, self.curve = 0.0, Curve()
        self._best, self._least = np.inf, min(one.row.loss for one in table)

    def spend(self, architecture_id: str, after: int, to: int) -> float:
        """Train from after a rung to another one and return the loss there."""
        trace = self.traces[architecture_id]
        begun = trace[after, TRAIN] if after >= 0 else 0.0
        self.clock += trace[to, TRAIN] - begun + trace[to, VALIDATE]
        return float(trace[to, LOSS])

    def complete(self, architecture_id: str, loss: float) -> None:
        self.clock += BESIDE
        if loss < self._best:
            self._best = loss
            self.curve.append((self.clock, self.space.rows[architecture_id].loss - self._least))


def ours(
    table: Sequence[Recorded], seed: int, *, strategy: str, rungs: Sequence[int], eta: float
) -> Curve:
    """Search as the driver does: promotions first, else a proposal, at last who is paused."""
    replay, last = Replay(table, seed), len(rungs) - 1
    rule = Halving(rungs=len(rungs), direction="minimize", eta=eta)
    chooser = make_strategy(strategy, replay.space, seed=seed, directions=["minimize"])
    history: list[Observation] = []
    while True:
        waiting = {one.number for one in history if one.state == "paused"}
        following = rule.promoted(history, waiting)
        if following is None and len(history) < len(table):
            found = chooser.propose(history, len(history))
            following = len(history), rule.first_goal(history, len(history))
            history.append(_proposed(replay.space, found, len(history)))
        if following is None:
            left = rule.best_paused(history, waiting)
            if not left:
                return replay.curve
            following = left[0], last
        number, goal = following
        history[number] = _trained(replay, history[number], rungs, goal)


def _proposed(space: TableSpace, architecture: object, number: int) -> Observation:
    return Observation(
        number=number,
        architecture_id=architecture.id,
        parameters=space.space.encode(architecture),
        state="running",
        values=None,
        columns=space.columns(architecture),
    )


def _trained(replay: Replay, one: Observation, rungs: Sequence[int], goal: int) -> Observation:
    """Return the observation after its job; every rung on the way is measured."""
    measured = list(one.rungs)
    for rung in range(len(measured), goal + 1):
        after = rungs[rung - 1] if rung else -1
        measured.append((rung, (replay.spend(one.architecture_id, after, rungs[rung]),)))
    if goal < len(rungs) - 1:
        replay.clock += BESIDE
        return replace(one, state="paused", rungs=tuple(measured))
    *lower, (_, values) = measured
    replay.complete(one.architecture_id, values[0])
    return replace(one, state="complete", values=values, rungs=tuple(lower))


@cache
def _bound() -> BoundSpace:
    plain = {
        "format_version": 1,
        "space": SPACE,
        "task": {"name": "language_modeling", "data": "builtin:python-docs"},
    }
    space = config_from_plain(plain, where="benchmark", name="replay").space
    spec = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=VOCAB, context=CONTEXT)
    return space.bind(spec, context=CONTEXT, batch=BATCH)


def optunas(table: Sequence[Recorded], seed: int, *, factor: int) -> Curve:
    """Search as a script with Optuna does; `factor` 0: without a pruner."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.NopPruner()
    if factor:
        pruner = optuna.pruners.HyperbandPruner(1, 32, reduction_factor=factor)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
    replay, taken = Replay(table, seed), set()
    while len(taken) < len(table):
        trial = study.ask()
        asked = {p.name: trial.suggest_int(p.name, p.low, p.high, step=p.step)
                 for p in _bound().space.parameters}  # fmt: skip
        architecture = _bound().at(asked)
        if architecture is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        own = _nearest(replay.space, dict(architecture.shape), taken)
        taken.add(own)
        _trial(study, trial, replay, own)
    return replay.curve


def _nearest(space: TableSpace, shape: dict[str, int], taken: set[str]) -> str:
    shape.setdefault("n_kv_head", shape["n_head"])
    code = {}
    for dimension, parameter in zip(space.space.dimensions, space.space.parameters, strict=True):
        distances = [abs(value - shape[dimension.name]) for value in dimension.values]
        code[parameter.name] = int(np.argmin(distances))
    return space.nearest(code, exclude=taken).id


def _trial(study: object, trial: object, replay: Replay, own: str) -> None:
    import optuna

    for rung in range(len(replay.traces[own])):
        loss = replay.spend(own, rung - 1, rung)
        trial.report(loss, 2**rung)
        if rung < len(replay.traces[own]) - 1 and trial.should_prune():
            replay.clock += BESIDE
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    study.tell(trial, loss)
    replay.complete(own, loss)


def contenders(rungs: Sequence[int], eta: float, factor: int) -> dict[str, Callable[..., Curve]]:
    full = {"rungs": (5,), "eta": 1.0}
    pausing = {"rungs": rungs, "eta": eta}
    return {
        "auto": partial(ours, strategy="auto", **pausing),
        "auto-full": partial(ours, strategy="auto", **full),
        "random": partial(ours, strategy="random", **pausing),
        "random-full": partial(ours, strategy="random", **full),
        "evolution-full": partial(ours, strategy="evolution", **full),
        "tpe-hyperband": partial(optunas, factor=factor),
        "tpe-full": partial(optunas, factor=0),
    }


def _replayed(job: tuple[Path, float, Callable[..., Curve], range]) -> list[Curve]:
    path, share, contender, seeds = job
    return [contender(part(read(path), share, seed), seed) for seed in seeds]


def part(table: Sequence[Recorded], share: float, seed: int) -> tuple[Recorded, ...]:
    """Return a random share of the shapes, in their order; all of them for 1."""
    order = np.random.default_rng(seed).permutation(len(table))
    return tuple(table[at] for at in sorted(order[: round(share * len(table))]))


def time_to(curve: Curve, goal: float, most: float) -> float:
    """Return when a curve first comes to a goal, `most` if never."""
    return next((at for at, regret in curve if regret <= goal), most)


def regret_at(curve: Curve, at: float, before: float) -> float:
    """Return the regret of the best candidate at a time, `before` if there is none yet."""
    return next((regret for when, regret in reversed(curve) if when <= at), before)


def seconds_of(shapes: Sequence[Recorded]) -> float:
    """Return the CPU seconds of training all shapes to the end."""
    return sum(float(one.traces[:, FULL, TRAIN].mean()) for one in shapes)


def typical_regret(shapes: Sequence[Recorded]) -> float:
    losses = [one.row.loss for one in shapes]
    return float(np.median(losses) - min(losses))


def near(shapes: Sequence[Recorded]) -> int:
    """Return how many shapes are within `NEAR` of the best."""
    losses = np.array([one.row.loss for one in shapes])
    return int((losses <= losses.min() + NEAR).sum())


def report(
    parts: Sequence[Sequence[Recorded]], curves: Mapping[str, list[Curve]]
) -> dict[str, list[float]]:
    """Print what became of each contender; `parts` are the shapes of each replay."""
    whole, typical = [seconds_of(one) for one in parts], [typical_regret(one) for one in parts]
    print(f"{len(parts[0])} shapes, {np.mean(whole):.0f} s to train all, "
          f"{np.mean([near(one) for one in parts]):.1f} within {NEAR} of the best")  # fmt: skip
    head = "".join(f"{f'{100 * share:g} %':>8}" for share in SHARES)
    print(f"{'':16}{'seconds to it':>16}{'median':>8}   regret x 1000 at shares of that time{head}")
    times = {}
    for name, found in curves.items():
        runs = list(zip(found, whole, typical, strict=True))
        seconds = np.array([time_to(curve, NEAR, most) for curve, most, _ in runs])
        times[name] = seconds.tolist()
        regrets = [
            np.mean([regret_at(curve, share * most, before) for curve, most, before in runs])
            for share in SHARES
        ]
        error = standard_error(seconds)
        print(f"{name:16}{seconds.mean():9.1f} ±{error:5.1f}{np.median(seconds):8.1f}{'':36}"
              + "".join(f"{1e3 * regret:8.1f}" for regret in regrets))  # fmt: skip
    return times


def fidelity(table: Sequence[Recorded]) -> None:
    """Print how each rung ranks against the end, the mean over the recorded seeds."""
    losses = np.stack([one.traces[:, :, LOSS] for one in table])  # (shape, seed, rung)
    left, right = np.triu_indices(len(table), k=1)
    order = np.sign(losses[left] - losses[right])
    taus = (order * order[:, :, FULL:]).mean(axis=(0, 1))
    print("Kendall's tau of each rung with the end: " + " ".join(f"{tau:.2f}" for tau in taus))


def plot(
    parts: Sequence[Sequence[Recorded]], curves: Mapping[str, list[Curve]], path: Path
) -> None:
    """Draw the mean regret against time with its 95 % band over the replays."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    typical = [typical_regret(one) for one in parts]
    whole = np.mean([seconds_of(one) for one in parts])
    times = np.linspace(10, 0.5 * whole, 300)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, found in curves.items():
        runs = list(zip(found, typical, strict=True))
        values = np.array([[regret_at(curve, at, none) for at in times] for curve, none in runs])
        regret, error = values.mean(0), standard_error(values)
        (line,) = axes.plot(times, regret, label=name, lw=2.4 if name == "auto" else 1.2)
        axes.fill_between(
            times, regret - 1.96 * error, regret + 1.96 * error, color=line.get_color(), alpha=0.2
        )
    axes.set(xlabel="CPU seconds of training and validation, simulated",
             ylabel="regret, nats a byte", ylim=(0, None))  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--rungs", type=int, nargs="+", default=[1, 3, 5], help="recorded rungs")
    parser.add_argument("--eta", type=float, default=3.0)
    parser.add_argument("--factor", type=int, default=3, help="of Hyperband")
    names = list(contenders((FULL,), 1.0, 3))
    parser.add_argument("--share", type=float, default=1.0, help="of the shapes in each replay")
    parser.add_argument("--only", nargs="+", choices=names, help="contenders")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="where the times go")
    parser.add_argument("--plot", type=Path, help="a PNG; needs matplotlib")
    args = parser.parse_args()
    table = read(args.table)
    found = contenders(args.rungs, args.eta, args.factor)
    chosen = {name: found[name] for name in args.only or found}
    jobs = [(args.table, args.share, contender, range(args.seeds)) for contender in chosen.values()]
    with ProcessPoolExecutor(args.jobs) as pool:
        curves = dict(zip(chosen, pool.map(_replayed, jobs), strict=True))
    fidelity(table)
    parts = [part(table, args.share, seed) for seed in range(args.seeds)]
    times = report(parts, curves)
    if args.json:
        args.json.write_text(json.dumps(times))
    if args.plot:
        plot(parts, curves, args.plot)


if __name__ == "__main__":
    main()
