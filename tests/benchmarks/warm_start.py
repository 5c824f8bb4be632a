"""Warm starts replayed on tables of trained architectures (see `replay.py`): an evaluation is a
table look-up.

A strategy searches one set of a table, cold, warm from the results of another set of the same kind
of model, and warm from these negated. Only shapes that the searched set can express are taken
over. Printed is the mean regret in percent after 1 to 32 evaluations, with random draws beside.

    python tests/benchmarks/warm_start.py [--data trained.csv] [--seeds 50] [--strategies auto tpe]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from replay import (
    AFTER,
    PER_LAYER,
    Row,
    TableSpace,
    made_up,
    on_lines,
    read_table,
    row_architecture,
    under,
)

from nas.strategies import Evidence, Observation, make_strategy
from nas.strategies.warm import warmed

CAP = 75  # percentile of the total parameters that both sets are held to
# From which set to which: other text, the same kind of model. (Those of GPT-2 share no widths.)
PAIRS = (
    ("TransXL_lm1b", "TransXL_wt103"),
    ("TransXL_wt103", "TransXL_lm1b"),
)
MADE_UP = (("same_tokens", "same_compute"), ("same_compute", "same_tokens"))


def evidence(space: TableSpace, rows: Sequence[Row], sign: int) -> list[Evidence]:
    """Return those rows of another set that the space can express."""
    found = []
    for row in rows:
        shape = row_architecture(row)
        try:
            parameters = space.parameters_of(on_lines(shape, PER_LAYER))
        except ValueError:  # a width or depth that no row of the searched set has
            continue
        columns = {"params": row.params, "non_embedding_params": row.non_embedding_params}
        found.append(
            Evidence(
                architecture=shape, parameters=parameters, columns=columns, value=sign * row.loss
            )
        )
    return found


def replay(space: TableSpace, known: Sequence[Evidence], strategy: str, seed: int) -> np.ndarray:
    """Return the regret in percent after each evaluation."""
    chooser = make_strategy(strategy, space, seed=seed, directions=["minimize"])
    # Of another set's shapes those nearest in this set stand for the best ones.
    for_space = [
        one if one.architecture.id in space.rows else _nearest(space, one) for one in known
    ]
    chooser = warmed(chooser, for_space, ["minimize"])
    history: list[Observation] = []
    while len(history) < AFTER[-1]:
        shape = chooser.propose(history, len(history))
        history.append(
            Observation(
                number=len(history),
                architecture_id=shape.id,
                parameters=space.space.encode(shape),
                state="complete",
                values=(space.rows[shape.id].loss,),
                columns=space.columns(shape),
            )
        )
    best = np.minimum.accumulate([seen.values[0] for seen in history])
    goal = min(row.loss for row in space.rows.values())
    return 100 * (best / goal - 1)[[count - 1 for count in AFTER]]


def _nearest(space: TableSpace, one: Evidence) -> Evidence:
    shape = space.nearest(one.parameters)
    return Evidence(
        architecture=shape, parameters=one.parameters, columns=one.columns, value=one.value
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a table; without it two sets are made up")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--strategies", nargs="+", default=["auto", "tpe", "random"])
    args = parser.parse_args()
    sets = read_table(args.data) if args.data else made_up()
    for source, target in PAIRS if args.data else MADE_UP:
        space = TableSpace(under(sets[target], CAP))
        known = {
            "cold": [],
            "related": evidence(space, under(sets[source], CAP), 1),
            "negated": evidence(space, under(sets[source], CAP), -1),
        }
        print(f"\n{source} to {target}: {len(known['related'])} results taken over")
        print(f"{'evaluations':16s}" + "".join(f"{count:>8d}" for count in AFTER))
        for strategy in args.strategies:
            for name, found in known.items():
                regrets = [replay(space, found, strategy, seed) for seed in range(args.seeds)]
                cells = "".join(f"{value:8.2f}" for value in np.mean(regrets, axis=0))
                print(f"{strategy + ' ' + name:16s}{cells}", flush=True)


if __name__ == "__main__":
    main()
