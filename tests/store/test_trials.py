"""Trials that are written many at once are those that Optuna itself would have written."""

from datetime import datetime, timedelta

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState

from nas.store.trials import insert_trials

BEGUN = datetime(2026, 3, 29, 1, 30, 0, 5)
TABLES = ("trial_values", "trial_params", "trial_user_attributes", "trial_intermediate_values")


def trial(number, state, values=None, **fields):
    made = optuna.trial.create_trial(
        state=state,
        values=values,
        params={"n_layer": 2 + number, "rate": 0.5},
        distributions={
            "n_layer": IntDistribution(1, 9),
            "rate": FloatDistribution(0.1, 1.0, log=True),
        },
        user_attrs={"candidate_id": f"c{number}", "kinds": ["a", "ü"], "none": None},
        **fields,
    )
    made.datetime_start = BEGUN + timedelta(seconds=number)
    made.datetime_complete = BEGUN + timedelta(minutes=number)
    return made


ONE = [
    trial(0, TrialState.COMPLETE, [2.5], intermediate_values={100: 3.0, 200: 2.5}),
    trial(1, TrialState.FAIL, intermediate_values={100: float("nan"), 200: float("inf")}),
    trial(2, TrialState.PRUNED, intermediate_values={100: float("-inf")}),
    trial(3, TrialState.COMPLETE, [float("inf")]),
]
SEVERAL = [trial(0, TrialState.COMPLETE, [2.5, float("-inf")]), trial(1, TrialState.FAIL)]


@pytest.fixture
def storage(store_url):
    storage = optuna.storages.RDBStorage(store_url, engine_kwargs={"poolclass": sa.NullPool})
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def new_study(storage, name, objectives):
    return optuna.create_study(
        study_name=name, storage=storage, directions=["minimize"] * objectives
    )


def stored(storage, study):
    """All that the tables hold of a study's trials, without the numbers that tables give."""
    tables = sa.MetaData()
    tables.reflect(storage.engine)
    found = {}
    with storage.engine.connect() as connection:
        trials = tables.tables["trials"]
        here = trials.c.study_id == study._study_id
        rows = connection.execute(sa.select(trials).where(here)).mappings().all()
        numbers = {row["trial_id"]: row["number"] for row in rows}
        found["trials"] = sorted(
            tuple(v for k, v in row.items() if k not in ("trial_id", "study_id")) for row in rows
        )
        for name in TABLES:
            rows = connection.execute(sa.select(tables.tables[name])).mappings().all()
            left_out = (next(iter(tables.tables[name].primary_key.columns)).name, "trial_id")
            found[name] = sorted(
                repr((numbers[row["trial_id"]], {k: row[k] for k in row if k not in left_out}))
                for row in rows
                if row["trial_id"] in numbers
            )
    return found


@pytest.mark.parametrize("trials", [ONE, SEVERAL], ids=["one objective", "several"])
def test_trials_are_stored_as_by_optuna(storage, trials):
    objectives = len(trials[0].values)
    theirs, ours = (new_study(storage, name, objectives) for name in ("theirs", "ours"))
    theirs.add_trials(trials)
    insert_trials(storage.engine, ours._study_id, trials[:1])
    insert_trials(storage.engine, ours._study_id, trials[1:])
    expected = stored(storage, theirs)
    assert len(expected["trials"]) == len(trials)
    assert all(expected[name] for name in TABLES[:3])
    assert stored(storage, ours) == expected
    read = optuna.load_study(study_name="ours", storage=storage).trials
    assert [t.number for t in read] == list(range(len(trials)))
    assert [t.user_attrs["candidate_id"] for t in read] == [f"c{n}" for n in range(len(trials))]


def test_many_trials_are_numbered_in_their_order(storage):
    """More than one statement holds; whoever adds one by Optuna's own way takes the next number."""
    study = new_study(storage, "many", 1)
    many = [trial(n % 7, TrialState.COMPLETE, [float(n)]) for n in range(1200)]
    insert_trials(storage.engine, study._study_id, many)
    study.add_trial(ONE[0])
    insert_trials(storage.engine, study._study_id, ONE[:1])
    read = study.trials
    assert [t.number for t in read] == list(range(1202))
    assert [t.value for t in read] == [*map(float, range(1200)), 2.5, 2.5]


def test_trials_are_stored_all_or_none(storage):
    study = new_study(storage, "broken", 1)
    broken = trial(1, TrialState.COMPLETE, [1.0])
    broken.user_attrs["set"] = {1, 2}  # no JSON
    with pytest.raises(TypeError, match="not JSON serializable"):
        insert_trials(storage.engine, study._study_id, [ONE[0], broken])
    assert study.trials == []
    with pytest.raises(KeyError):
        insert_trials(storage.engine, study._study_id + 1, ONE)
