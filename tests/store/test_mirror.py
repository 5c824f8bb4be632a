"""Optuna's mirror, opened as anyone would open it."""

from dataclasses import dataclass

import optuna
import pytest
import sqlalchemy as sa

from nas.records import CheckpointRef
from nas.store import mirror as mirrors
from nas.store.mirror import Mirror
from nas.store.store import Store


@dataclass(frozen=True)
class Number:
    name: str
    low: int
    high: int
    step: int = 1


PARAMETERS = (Number("n_layer", 1, 8), Number("d_model_index", 0, 3), Number("d_ff", 64, 512, 64))


CHECKPOINT = CheckpointRef(uri="checkpoints/a", sha256="00", bytes=7, tokens=100)


@pytest.fixture
def mirror(store, study):
    mirror = Mirror(store.url, study.name, objectives=study.objectives, parameters=PARAMETERS)
    yield mirror
    mirror.close()


def add_complete(store, study, build, number, **changes):
    candidate = build.candidate(seed=number)
    encoding = {"n_layer": 2, "d_model_index": 1, "d_ff": 128}
    build.add(store, study, candidate, number=number, parameters=encoding)
    measured = build.evaluation(0, 3.0 + number), build.evaluation(1, 2.0 + number)
    store.record_outcome(study, build.outcome(candidate, *measured, **changes))
    return candidate


def opened(store):
    """Optuna's study as anyone would open it, without connections that stay open."""
    storage = optuna.storages.RDBStorage(store.url, engine_kwargs={"poolclass": sa.NullPool})
    return optuna.load_study(study_name="tiny", storage=storage)


def trials(store):
    return opened(store).trials


def test_optuna_opens_the_mirror(store, study, mirror, build):
    candidate = add_complete(store, study, build, 0)
    assert mirror.add(store.rows(study), store.evaluations(study))
    (trial,) = trials(store)
    assert trial.state == optuna.trial.TrialState.COMPLETE
    assert (trial.value, trial.intermediate_values) == (2.0, {100: 3.0, 200: 2.0})
    assert trial.params == {"n_layer": 2, "d_model_index": 1, "d_ff": 128}
    assert trial.distributions["d_ff"] == optuna.distributions.IntDistribution(64, 512, step=64)
    assert trial.user_attrs["candidate_id"] == candidate.id
    assert (trial.user_attrs["d_model"], trial.user_attrs["params"]) == (64, 1000)
    assert trial.datetime_complete >= trial.datetime_start


def test_failed_candidate_is_a_failed_trial(store, study, mirror, build):
    add_complete(store, study, build, 0, state="oom")
    mirror.add(store.rows(study))
    (trial,) = trials(store)
    assert (trial.state, trial.values) == (optuna.trial.TrialState.FAIL, None)
    assert trial.user_attrs["state"] == "oom"


def test_what_has_not_ended_or_is_a_retraining_is_not_mirrored(store, study, mirror, build):
    build.add(store, study, build.candidate())
    build.add(store, study, build.candidate(seed=1), number=1, role="finalist")
    store.record_outcome(study, build.outcome(build.candidate(seed=1), build.evaluation()))
    paused = build.candidate(seed=2)
    build.add(store, study, paused, number=2)
    store.record_outcome(study, build.outcome(paused, build.evaluation(), state="paused"))
    store.set_checkpoint(study, paused.id, CHECKPOINT)
    assert mirror.add(store.rows(study)) == 0


def test_a_paused_candidate_that_cannot_go_on_is_a_pruned_trial(store, study, mirror, build):
    candidate = build.candidate()
    build.add(store, study, candidate)
    store.record_outcome(study, build.outcome(candidate, build.evaluation(), state="paused"))
    (row,) = store.rows(study)
    assert mirror.add([row], store.evaluations(study))
    (trial,) = trials(store)
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert trial.intermediate_values


def test_reconciling_adds_what_is_missing_once(store, study, mirror, build):
    for number in range(3):
        add_complete(store, study, build, number)
    rows, measured = store.rows(study), store.evaluations(study)
    assert mirror.add(rows[1:2]) == 1
    assert mirror.add(rows, measured) == 2
    assert mirror.add(rows, measured) == 0
    again = Mirror(store.url, "tiny", objectives=("val_loss",), parameters=PARAMETERS)
    assert again.add(rows, measured) == 0
    again.close()
    assert sorted(t.value for t in trials(store)) == [2.0, 3.0, 4.0]


def test_several_objectives_are_mirrored_with_their_directions(store, build):
    study = build.study(store, objectives=("val_loss", "val_accuracy"))
    candidate = build.candidate()
    build.add(store, study, candidate)
    evaluation = build.evaluation(0, val={"loss": 2.0, "accuracy": 0.5})
    store.record_outcome(study, build.outcome(candidate, evaluation))
    mirror = Mirror(store.url, "tiny", objectives=study.objectives, parameters=PARAMETERS)
    mirror.add(store.rows(study), store.evaluations(study))
    mirror.close()
    loaded = opened(store)
    assert [d.name for d in loaded.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert loaded.trials[0].values == [2.0, 0.5]


def test_mirror_says_nothing_and_leaves_optunas_logging_alone(store, study, mirror, build, capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    add_complete(store, study, build, 0)
    mirror.add(store.rows(study))
    mirrors.load_study(store.url, "tiny")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert capfd.readouterr().err == ""


def test_our_tables_and_optunas_migrations_do_not_meet(store, study, mirror, build):
    add_complete(store, study, build, 0)
    mirror.add(store.rows(study))
    with Store.open(store.url) as again:
        assert again.studies() == ["tiny"]
        again.delete_study("tiny")
    assert len(trials(store)) == 1
    mirrors.delete_study(store.url, "tiny")
    mirrors.delete_study(store.url, "tiny")
    with pytest.raises(KeyError):
        mirrors.load_study(store.url, "tiny")
