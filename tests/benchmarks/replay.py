"""Strategies replayed on tables of trained architectures: an evaluation is a table look-up.

Each set of a table stands alone, under caps at the 25th, 50th and 75th percentile of its total
parameters. A strategy chooses among the rows under the cap, seeing their shape, their closed-form
parameter counts and the losses of those it chose before, nothing else. Printed is the mean regret,
100 * (best so far / best there is - 1), after 1 to 32 evaluations, with its standard error over
the seeds, and how far `auto` lies behind the best of the others where it does worst.

A table is a CSV file with the columns set, n_layer, d_model, d_embed, n_head and d_ff (JSON lists,
one number a layer), params_nonembedding, params_total and valid_ppl, as `lts_decoders` has
(Javaheripi et al., "LiteTransformerSearch", 2022). Without one, two sets are made up (see
`made_up`): one in which larger is better, one in which a fixed budget favours a middle size.

    python tests/benchmarks/replay.py [--data trained.csv] [--seeds 200] [--negate] [--json FILE]
                                      [--plot FILE.png]
"""

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import numpy as np

from nas.records import Architecture
from nas.space.dimensions import DEPTH, ENDS, Dimension, Layout
from nas.strategies import Observation, make_strategy

AFTER = (1, 2, 4, 8, 16, 32)
CAPS = (25, 50, 75)
STRATEGIES = ("auto", "tpe", "nsga2", "evolution", "random", "largest-first")
FF_STEP = 64
PER_LAYER = ("n_head", "d_ff")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trained architecture."""

    shape: dict[str, int | tuple[int, ...]]
    params: int
    non_embedding_params: int
    loss: float


class TableSpace:
    """The rows of a table as a space: what `BoundSpace` offers strategies, over a finite set.

    Every point of the space stands for the row nearest to it. A per-layer list is encoded as the
    ends of the straight line through it, as a space's `per_layer: true` has them.

    Args:
        rows: The table.
        per_layer: Fields that are lists, a number a layer.
        constants: Fields that are the same in all rows.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        per_layer: Sequence[str] = PER_LAYER,
        constants: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._all = [row_architecture(row) for row in rows]
        self._per_layer = per_layer
        self.rows = {own.id: row for own, row in zip(self._all, rows, strict=True)}
        self._plain = [on_lines(architecture, per_layer) for architecture in self._all]
        dimensions = tuple(self._dimensions())
        depth = next(d for d in dimensions if d.name == DEPTH)
        layout = Layout(constants=constants, depths=depth.values, dimensions=dimensions)
        parameters = tuple(p for d in dimensions for p in d.parameters(depth.values[-1]))
        self.space = SimpleNamespace(
            dimensions=dimensions, layout=layout, parameters=parameters, encode=self._encode
        )
        self._encoded = [self.parameters_of(plain) for plain in self._plain]
        self._codes = dict(zip(self.rows, self._encoded, strict=True))
        self._ranges = np.array([max(p.high - p.low, 1) for p in parameters])
        self._points = np.array([[code[p.name] for p in parameters] for code in self._encoded])

    def _dimensions(self) -> Iterator[Dimension]:
        for name in self._plain[0]:
            if name in self._per_layer:
                ends = [end for plain in self._plain for end in plain[name]]
                step = FF_STEP if name == "d_ff" else 1
                values = tuple(range(min(ends), max(ends) + 1, step))
                yield Dimension(name=name, values=values, step=step, layout=ENDS)
            else:
                values = tuple(sorted({plain[name] for plain in self._plain}))
                yield Dimension(name=name, values=values, step=None)

    def parameters_of(self, plain: Mapping[str, object]) -> dict[str, int]:
        code = {}
        for dimension in self.space.dimensions:
            value = plain[dimension.name]
            ends = value if isinstance(value, tuple) else (dimension.values.index(value),)
            names = [p.name for p in dimension.parameters(2)]
            code.update(zip(names, ends, strict=True))
        return code

    def _encode(self, architecture: Architecture) -> dict[str, int]:
        return dict(self._codes[architecture.id])

    def size(self) -> int:
        return len(self._all)

    def architectures(self) -> Iterator[Architecture]:
        yield from self._all

    def columns(self, architecture: Architecture) -> dict[str, float]:
        row = self.rows[architecture.id]
        return {"params": row.params, "non_embedding_params": row.non_embedding_params}

    def sample(self, rng: np.random.Generator) -> Architecture:
        return self._all[rng.integers(len(self._all))]

    def at(self, params: Mapping[str, int]) -> Architecture | None:
        return self.nearest(params)

    def nearest(
        self, params: Mapping[str, int], *, exclude: frozenset[str] | set[str] = frozenset()
    ) -> Architecture | None:
        point = np.array([params[p.name] for p in self.space.parameters])
        distances = (abs(self._points - point) / self._ranges).sum(axis=1)
        for at in np.argsort(distances, kind="stable"):
            if self._all[at].id not in exclude:
                return self._all[at]
        return None


class LargestFirst:
    """The rows from the most to the fewest weights outside the embeddings."""

    def __init__(self, space: TableSpace, *, seed: int, directions: Sequence[str]) -> None:
        rows = sorted(space.rows.values(), key=lambda row: -row.non_embedding_params)
        self._order = [row_architecture(row) for row in rows]

    def propose(self, history: Sequence[Observation], number: int) -> Architecture | None:
        return self._order[number] if number < len(self._order) else None


def row_architecture(row: Row) -> Architecture:
    return Architecture(family="table", shape=row.shape)


def on_lines(architecture: Architecture, per_layer: Sequence[str]) -> dict[str, object]:
    """Return the fields with each list as the ends of the line fitted through it."""
    plain: dict[str, object] = {DEPTH: architecture.shape[DEPTH]}
    for name, value in architecture.shape.items():
        layers = np.broadcast_to(value, plain[DEPTH])
        if name in per_layer:
            step = FF_STEP if name == "d_ff" else 1
            slope = np.polyfit(np.arange(len(layers)), layers, 1)[0] if len(layers) > 1 else 0.0
            rise = slope * (len(layers) - 1) / 2
            ends = np.array([layers.mean() - rise, layers.mean() + rise])
            clipped = np.clip(ends, layers.min(), layers.max())
            plain[name] = tuple(round(end / step) * step for end in clipped)
        elif name != DEPTH:
            plain[name] = value
    return plain


def read_table(path: Path) -> dict[str, list[Row]]:
    """Return the rows of each set."""
    sets: dict[str, list[Row]] = {}
    with path.open(newline="") as lines:
        for line in csv.DictReader(lines):
            shape = {name: int(line[name]) for name in (DEPTH, "d_model", "d_embed")}
            lists = {name: tuple(json.loads(line[name])) for name in PER_LAYER}
            row = Row(
                shape={**shape, **lists},
                params=int(line["params_total"]),
                non_embedding_params=int(line["params_nonembedding"]),
                loss=float(line["valid_ppl"]),
            )
            sets.setdefault(line["set"], []).append(row)
    return sets


def made_up(rows: int = 200) -> dict[str, list[Row]]:
    """Return two sets of random decoders whose perplexity a formula gives.

    loss = 1.7 + 400 / N ** .34 + 410 / D ** .28 (Hoffmann et al., "Training Compute-Optimal Large
    Language Models", 2022, in shape) + .02 * log2(d_model / n_layer / 32) ** 2
    + .02 * log2(d_ff / d_model / 4) ** 2 + .005 * a standard normal, perplexity = exp(loss).
    N: weights outside the embeddings. D, tokens: 1e8 for all in `same_tokens`; 2e14 / N in
    `same_compute`, so that the largest are trained too briefly.
    """
    sets: dict[str, list[Row]] = {}
    for name in ("same_tokens", "same_compute"):
        rng = np.random.default_rng(len(name))
        sets[name] = [_made_up_row(rng, name) for _ in range(rows)]
    return sets


def _made_up_row(rng: np.random.Generator, name: str) -> Row:
    n_layer, d_model = int(rng.integers(2, 17)), int(rng.choice([64, 128, 256, 512]))
    d_ff = tuple(int(width) for width in rng.integers(128, 2049, size=n_layer))
    n_head = tuple(int(heads) for heads in rng.choice([2, 4, 8], size=n_layer))
    size = 4 * n_layer * d_model**2 + 2 * d_model * sum(d_ff)
    tokens = 1e8 if name == "same_tokens" else 2e14 / size
    loss = 1.7 + 400 / size**0.34 + 410 / tokens**0.28 + 0.005 * rng.standard_normal()
    loss += 0.02 * np.log2(d_model / n_layer / 32) ** 2
    loss += 0.02 * np.log2(np.mean(d_ff) / d_model / 4) ** 2
    shape = {DEPTH: n_layer, "d_model": d_model, "n_head": n_head, "d_ff": d_ff}
    return Row(
        shape=shape,
        params=size + 10_000 * d_model,
        non_embedding_params=size,
        loss=float(np.exp(loss)),
    )


def replay(rows: Sequence[Row], strategy: str, seed: int, sign: int) -> list[float]:
    """Return the regret in percent after each of `AFTER` evaluations."""
    space = TableSpace(rows)
    own = {"space": space, "seed": seed, "directions": ["minimize"]}
    chooser = LargestFirst(**own) if strategy == "largest-first" else make_strategy(strategy, **own)
    history: list[Observation] = []
    while len(history) < min(AFTER[-1], len(rows)):
        found = chooser.propose(history, len(history))
        history.append(
            Observation(
                number=len(history),
                architecture_id=found.id,
                parameters=space.space.encode(found),
                state="complete",
                values=(sign * space.rows[found.id].loss,),
                columns=space.columns(found),
            )
        )
    best = np.minimum.accumulate([seen.values[0] for seen in history])
    goal = min(sign * row.loss for row in rows)
    regret = 100 * (best - goal) / abs(goal)
    return [float(regret[min(count, len(regret)) - 1]) for count in AFTER]


def under(rows: Sequence[Row], percentile: int) -> list[Row]:
    """Return the rows whose total parameters are within a percentile of the set."""
    cap = np.percentile([row.params for row in rows], percentile)
    return [row for row in rows if row.params <= cap]


def _many(job: tuple[list[Row], str, range, int]) -> list[list[float]]:
    rows, strategy, seeds, sign = job
    return [replay(rows, strategy, seed, sign) for seed in seeds]


def _show(title: str, regrets: Mapping[str, np.ndarray]) -> None:
    """Print the mean and its standard error over the seeds; arrays are (case, seed, AFTER)."""
    print(f"\n{title}\n{'evaluations':16s}" + "".join(f"{count:>15d}" for count in AFTER))
    for name, regret in regrets.items():
        cells = "".join(f"{mean:8.2f} ±{error:5.2f}" for mean, error in over_seeds(regret).T)
        print(f"{name:16s}{cells}")


def over_seeds(regret: np.ndarray) -> np.ndarray:
    """Return the mean over cases and seeds and its standard error over seeds, (2, AFTER)."""
    by_seed = regret.mean(axis=0)
    return np.stack([by_seed.mean(axis=0), standard_error(by_seed)])


def _show_gap(cases: Sequence[tuple[str, int]], regrets: Mapping[str, np.ndarray]) -> None:
    """Print how far `auto` is behind the best other strategy: on average, and at worst."""
    means = {name: regret.mean(axis=1) for name, regret in regrets.items()}
    others = [mean for name, mean in means.items() if name != "auto"]
    overall = means["auto"].mean(axis=0) - np.min([mean.mean(axis=0) for mean in others], axis=0)
    by_case = means["auto"] - np.min(others, axis=0)
    print("\nauto behind the best of the others, percentage points")
    for at, count in enumerate(AFTER):
        worst = int(by_case[:, at].argmax())
        name, cap = cases[worst]
        print(
            f"after {count:2d}: {overall[at]:6.2f} on average, "
            f"{by_case[worst, at]:6.2f} at worst ({name}, cap {cap} %)"
        )


def run(
    sets: Mapping[str, list[Row]],
    strategies: Sequence[str],
    *,
    seeds: int,
    sign: int,
    processes: int,
) -> dict[str, np.ndarray]:
    """Return the regrets, arrays (case, seed, AFTER); a fixed order has one seed."""
    cases = [under(rows, cap) for rows in sets.values() for cap in CAPS]
    jobs = [
        (rows, strategy, range(1 if strategy == "largest-first" else seeds), sign)
        for strategy in strategies
        for rows in cases
    ]
    with ProcessPoolExecutor(processes) as pool:
        results = list(pool.map(_many, jobs))
    return {
        strategy: np.array(results[at * len(cases) : (at + 1) * len(cases)])
        for at, strategy in enumerate(strategies)
    }


def report(cases: Sequence[tuple[str, int]], regrets: Mapping[str, np.ndarray]) -> None:
    """Print a table for each set and cap, one of their mean, and the distance of `auto`."""
    for at, (name, cap) in enumerate(cases):
        _show(f"{name}, cap {cap} %", {key: found[at : at + 1] for key, found in regrets.items()})
    _show("mean over sets and caps", regrets)
    if "auto" in regrets and len(regrets) > 1:
        _show_gap(cases, regrets)


def standard_error(values: np.ndarray) -> np.ndarray:
    """Return that of the mean over the first axis; 0 of a single value, which says nothing."""
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])
    return spread / np.sqrt(len(values))


def plot(figures: Mapping[str, np.ndarray], path: Path) -> None:
    """Draw what `over_seeds` returned of each strategy, with a 95 % band."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, (mean, error) in figures.items():
        width = 2.4 if name == "auto" else 1.2
        (line,) = axes.plot(AFTER, mean, "o-", ms=3, label=name, lw=width, clip_on=False)
        low, high = np.maximum(mean - 1.96 * error, 0), mean + 1.96 * error
        axes.fill_between(AFTER, low, high, color=line.get_color(), alpha=0.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(AFTER, [str(count) for count in AFTER])
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_yticks([0, 0.1, 1, 10, 100], ["0", "0.1", "1", "10", "100"])
    axes.set(xlabel="evaluations", ylabel="mean regret, %", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a table; without it two sets are made up")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--negate", action="store_true", help="the worst loss is the best")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="where the numbers go")
    parser.add_argument("--plot", type=Path, help="a PNG; needs matplotlib")
    args = parser.parse_args()
    sets = read_table(args.data) if args.data else made_up()
    sign = -1 if args.negate else 1
    regrets = run(sets, args.strategies, seeds=args.seeds, sign=sign, processes=args.jobs)
    cases = [(name, cap) for name in sets for cap in CAPS]
    report(cases, regrets)
    if args.json:
        plain = {name: found.mean(axis=1).tolist() for name, found in regrets.items()}
        args.json.write_text(json.dumps({"after": AFTER, "cases": cases, "regret": plain}))
    if args.plot:
        plot({name: over_seeds(found) for name, found in regrets.items()}, args.plot)


if __name__ == "__main__":
    main()
