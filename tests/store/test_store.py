"""The contract of the store, on every kind of database (see `store_url`)."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from nas.errors import InputError, NotFoundError
from nas.records import CheckpointRef, Numerics
from nas.store.store import Store

CHECKPOINT = CheckpointRef(uri="checkpoints/a", sha256="00", bytes=7, tokens=100)
NUMERICS = Numerics(device="cpu", precision="bf16", attention="bmm", threads=1)


def test_study_is_the_same_after_reopening(store, build):
    made = build.study(store)
    with Store.open(store.url) as again:
        assert again.study("tiny") == made
        assert again.studies() == ["tiny"]
    assert made.rungs == (100, 200)
    assert made.numerics is None
    assert made.summary is None
    assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=1)


def test_study_of_a_taken_name_is_refused(store, study, build):
    with pytest.raises(InputError, match="study 'tiny' already exists"):
        build.study(store)


def test_unknown_study_names_the_nearest(store, study):
    with pytest.raises(NotFoundError, match=r"no study 'tny'; it holds: tiny; did you mean 'tiny'"):
        store.study("tny")


def test_what_may_change_of_a_study_changes(store, study):
    store.set_numerics(study, NUMERICS)
    store.set_state(study, "finished")
    store.set_summary(study, {"winner": "abc"})
    store.update_config(study, {"keep": 3})
    stored = store.study("tiny")
    assert (stored.numerics, stored.state) == (NUMERICS, "finished")
    assert (stored.summary, stored.config) == ({"winner": "abc"}, {"keep": 3})
    assert stored.identity == study.identity


def test_candidate_comes_back_as_it_was_proposed(store, study, build):
    candidate = build.candidate(seed=3, d_ff=(128, 192), n_head=4, n_kv_head=2, tied=False)
    assert build.add(
        store, study, candidate, number=5, parameters={"n_layer": 2, "d_ff_first": 128}
    )
    (row,) = store.rows(study)
    assert row.candidate == candidate
    assert row.candidate.id == row.candidate_id == candidate.id
    assert row.architecture.id == row.architecture_id
    assert (row.number, row.role, row.state, row.rung) == (5, "search", "running", None)
    assert row.parameters == {"n_layer": 2, "d_ff_first": 128}
    assert (row.params, row.columns["params"], row.metrics) == (1005, 1005.0, {})


def test_candidate_added_twice_stays_one(store, study, build):
    candidate = build.candidate()
    assert build.add(store, study, candidate)
    before = store.rows(study)
    assert not build.add(store, study, candidate, number=9, role="finalist")
    assert store.rows(study) == before


def test_one_architecture_under_two_seeds_is_two_candidates(store, study, build):
    for seed in (0, 1):
        build.add(store, study, build.candidate(seed=seed), number=seed)
    first, second = store.rows(study)
    assert first.architecture_id == second.architecture_id
    assert first.candidate_id != second.candidate_id


def test_one_candidate_in_two_studies_is_kept_apart(store, study, build):
    other = build.study(store, "other")
    candidate = build.candidate()
    for each in (study, other):
        build.add(store, each, candidate)
    store.record_outcome(other, build.outcome(candidate, build.evaluation()))
    assert [row.state for row in store.rows(study)] == ["running"]
    assert [row.study for row in store.rows(other)] == ["other"]
    assert store.evaluations(study) == []


def test_outcome_is_stored_whole(store, study, build):
    candidate = build.candidate()
    build.add(store, study, candidate)
    first, second = build.evaluation(0, 2.0), build.evaluation(1, 1.5, test={"loss": 1.6})
    paused = build.outcome(candidate, first, state="paused", checkpoint=CHECKPOINT)
    assert store.record_outcome(study, paused)
    (row,) = store.rows(study)
    assert (row.state, row.rung, row.checkpoint, row.finished_at) == ("paused", 0, CHECKPOINT, None)

    done = build.outcome(
        candidate,
        second,
        model_saved=True,
        model_bytes=9,
        model_sha256="ff",
        timings={"train": 2.0},
    )
    assert store.record_outcome(study, done)
    (row,) = store.rows(study)
    assert (row.state, row.rung, row.tokens, row.seconds) == ("complete", 1, 200, 1.0)
    assert row.metrics == {"val_loss": 1.5, "val_bits_per_byte": 1.5 * 1.44, "test_loss": 1.6}
    assert row.model_path == f"models/{candidate.id}"
    assert row.finished_at >= row.created_at
    assert row.timings == {"train": 2.0}
    assert [e.evaluation for e in store.evaluations(study, candidate.id)] == [first, second]


def test_one_row_is_as_among_all_rows(store, study, build):
    for number in range(3):
        candidate = build.candidate(seed=number)
        build.add(store, study, candidate, number=number)
        store.record_outcome(study, build.outcome(candidate, build.evaluation(0, 2.0 + number)))
    assert [store.row(study, row.candidate_id) for row in store.rows(study)] == store.rows(study)


def test_all_rungs_give_a_row_each(store, study, build):
    candidate, untouched = build.candidate(), build.candidate(seed=1)
    build.add(store, study, candidate)
    build.add(store, study, untouched, number=1)
    measured = build.evaluation(0, 2.0), build.evaluation(1, 1.5)
    store.record_outcome(study, build.outcome(candidate, *measured))
    rows = store.rows(study, all_rungs=True)
    assert [(row.number, row.rung) for row in rows] == [(0, 0), (0, 1), (1, None)]
    assert [row.metrics.get("val_loss") for row in rows] == [2.0, 1.5, None]


@pytest.mark.parametrize("state", ["complete", "paused", "failed"])
def test_outcome_reported_twice_changes_nothing(store, study, build, state):
    candidate = build.candidate()
    build.add(store, study, candidate)
    outcome = build.outcome(candidate, build.evaluation(), state=state, timings={"train": 1.0})
    assert store.record_outcome(study, outcome)
    rows, measured = store.rows(study), store.evaluations(study)
    assert not store.record_outcome(study, outcome)
    assert (store.rows(study), store.evaluations(study)) == (rows, measured)


def test_late_report_of_an_earlier_rung_does_not_undo_a_promotion(store, study, build):
    candidate = build.candidate()
    build.add(store, study, candidate)
    paused = build.outcome(candidate, build.evaluation(), state="paused")
    store.record_outcome(study, paused)
    store.set_candidate_state(study, candidate.id, "running")
    assert not store.record_outcome(study, paused)
    assert store.rows(study)[0].state == "running"


def test_measurement_that_exists_is_not_overwritten(store, study, build):
    candidate = build.candidate()
    build.add(store, study, candidate)
    store.record_outcome(study, build.outcome(candidate, build.evaluation(0, 2.0), state="paused"))
    again = build.evaluation(0, 9.0), build.evaluation(1, 1.5)
    store.record_outcome(study, build.outcome(candidate, *again))
    losses = [e.metrics["val_loss"] for e in store.evaluations(study, candidate.id)]
    assert losses == [2.0, 1.5]


def test_finished_candidate_can_be_trained_again(store, study, build):
    candidate = build.candidate()
    build.add(store, study, candidate)
    store.record_outcome(study, build.outcome(candidate, state="failed", error="killed"))
    store.set_candidate_state(study, candidate.id, "running")
    assert store.rows(study)[0].finished_at is None
    assert store.record_outcome(study, build.outcome(candidate, build.evaluation()))
    (row,) = store.rows(study)
    assert (row.state, row.error) == ("complete", "")


def test_numbers_that_are_not_finite_are_left_out(store, study, build):
    candidate = build.candidate()
    build.add(store, study, candidate)
    evaluation = build.evaluation(0, math.nan, val={"loss": math.inf, "bits_per_byte": 1.0})
    store.record_outcome(study, build.outcome(candidate, evaluation, state="diverged"))
    assert store.rows(study)[0].metrics == {"val_bits_per_byte": 1.0}


def test_curve_keeps_its_points_where_the_loss_was_nan(store, study, build):
    candidate = build.candidate()
    build.add(store, study, candidate)
    evaluation = type(build.evaluation())(
        rung=0, tokens=1, seconds=1.0, metrics={}, curve=((50, 2.0), (100, math.nan))
    )
    store.record_outcome(study, build.outcome(candidate, evaluation, state="diverged"))
    (found,) = store.evaluations(study)
    assert found.evaluation.curve[0] == (50, 2.0)
    assert math.isnan(found.evaluation.curve[1][1])
    assert found.metrics == {}


def test_traceback_of_any_bytes_is_stored(store, study, build):
    candidate = build.candidate()
    build.add(store, study, candidate)
    outcome = build.outcome(candidate, state="failed", error="a\0b", traceback="x \ud800 ü\n")
    store.record_outcome(study, outcome)
    (row,) = store.rows(study)
    assert (row.error, row.traceback) == ("ab", "x ? ü\n")


def test_model_is_recorded_replaced_and_dropped(store, study, build):
    candidate = build.candidate()
    build.add(store, study, candidate)
    for path in ("models/a", "models/b"):
        store.record_model(study, candidate.id, path=path, size_bytes=3, sha256="0f")
    assert store.rows(study)[0].model_path == "models/b"
    store.drop_model(study, candidate.id)
    store.drop_model(study, candidate.id)
    assert store.rows(study)[0].model_path is None


def test_checkpoint_is_set_and_forgotten(store, study, build):
    candidate = build.candidate()
    build.add(store, study, candidate)
    store.set_checkpoint(study, candidate.id, CHECKPOINT)
    assert store.rows(study)[0].checkpoint == CHECKPOINT
    store.set_checkpoint(study, candidate.id, None)
    assert store.rows(study)[0].checkpoint is None


def test_unknown_candidate_is_refused_everywhere(store, study, build):
    ghost = build.candidate()
    calls = [
        lambda: store.record_outcome(study, build.outcome(ghost)),
        lambda: store.set_candidate_state(study, ghost.id, "running"),
        lambda: store.set_checkpoint(study, ghost.id, None),
        lambda: store.row(study, ghost.id),
        lambda: store.record_model(study, ghost.id, path="m", size_bytes=1, sha256=""),
    ]
    for call in calls:
        with pytest.raises(NotFoundError, match=f"study 'tiny': no candidate '{ghost.id}'"):
            call()


def test_deleting_a_study_leaves_the_others(store, study, build):
    other = build.study(store, "other")
    for each in (study, other):
        build.add(store, each, build.candidate())
        store.record_outcome(each, build.outcome(build.candidate(), build.evaluation()))
    store.delete_study("tiny")
    assert store.studies() == ["other"]
    assert len(store.rows(other)) == len(store.evaluations(other)) == 1
    assert store.rows(study) == store.evaluations(study) == []


def test_leaderboard_shows_a_row_a_candidate_to_a_sql_shell(store, study, build):
    import sqlalchemy as sa

    done, waiting = build.candidate(), build.candidate(seed=1, d_ff=(128, 192))
    for number, each in enumerate((done, waiting)):
        build.add(store, study, each, number=number)
    measured = build.evaluation(0, 2.0), build.evaluation(1, 1.5, test={"loss": 1.6})
    store.record_outcome(study, build.outcome(done, *measured, model_saved=True))
    engine = sa.create_engine(store.url)
    with engine.connect() as connection:
        text = sa.text("SELECT * FROM nas_leaderboard WHERE study = 'tiny' ORDER BY number")
        first, second = connection.execute(text).mappings().all()
    engine.dispose()
    shown = {key: first[key] for key in ("state", "n_layer", "d_ff", "tokens", "val_loss")}
    assert shown == {"state": "complete", "n_layer": 2, "d_ff": 128, "tokens": 200, "val_loss": 1.5}
    assert (first["test_loss"], first["model_path"]) == (1.6, f"models/{done.id}")
    assert (second["state"], second["val_loss"], second["d_ff"]) == ("running", None, None)
    assert "192" in str(second["shape"])


def test_reader_sees_whole_outcomes_while_another_connection_writes(store, study, build):
    candidates = [build.candidate(seed=seed) for seed in range(10)]
    with Store.open(store.url) as reader:
        for number, candidate in enumerate(candidates):
            build.add(store, study, candidate, number=number)
            store.record_outcome(study, build.outcome(candidate, build.evaluation()))
            rows = reader.rows(study)
            assert len(rows) == number + 1
            assert all(row.metrics["val_loss"] == 2.0 for row in rows)


def test_five_hundred_candidates_come_back_in_order(store, study, build):
    for number in range(500):
        candidate = build.candidate(seed=number)
        build.add(store, study, candidate, number=number)
    assert [row.number for row in store.rows(study)] == list(range(500))
