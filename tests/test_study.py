"""The questions that a person asks of a study."""

import os
import subprocess
import sys

import pytest
from needs import need_module

from nas.errors import InputError, NotFoundError, StoreError
from nas.families import architecture
from nas.records import Candidate, Evaluation, Outcome, Recipe, TaskSpec
from nas.store.mirror import Mirror
from nas.store.store import Store
from nas.study import list_studies, newest_study, open_study

SPEC = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=256, context=64)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "studies"


def make_study(folder, name="tiny", objectives=("val_loss",), database="study.db"):
    with Store.open(folder / name / database, create=True) as store:
        return store.create_study(
            name,
            config={"seed": 0},
            identity={},
            rungs=(100, 200),
            objectives=objectives,
            data_fingerprint="abc",
            task_spec=SPEC,
            versions={},
        )


def add(
    folder,
    number,
    *,
    losses=(),
    state="complete",
    role="search",
    d_ff=None,
    kept=False,
    test_loss=None,
    **metrics,
):
    candidate = Candidate(
        architecture=architecture(
            "llama", n_layer=2, d_model=64, n_head=2, d_ff=d_ff or 64 * number + 64
        ),
        recipe=Recipe(context=64, batch=8, rate=0.01),
        seed=number,
        data_fingerprint="abc",
    )
    evaluations = tuple(
        Evaluation(
            rung=rung,
            tokens=100 * (rung + 1),
            seconds=1.0,
            metrics={"val": {"loss": loss}, "": metrics}
            | ({} if test_loss is None else {"test": {"loss": test_loss}}),
        )
        for rung, loss in enumerate(losses)
    )
    outcome = Outcome(
        candidate_id=candidate.id,
        state=state,
        tokens=100,
        evaluations=evaluations,
        model_saved=kept,
    )
    with Store.open(folder / "tiny" / "study.db") as store:
        study = store.study("tiny")
        store.add_candidate(
            study,
            candidate,
            number=number,
            role=role,
            columns={"params": 1000.0 * (number + 1)},
            parameters={"n_layer": 2},
        )
        if state != "running":
            store.record_outcome(study, outcome)
    return candidate


@pytest.fixture
def study(folder):
    """Three complete candidates, the middle one best; one paused, one failed."""
    make_study(folder)
    for number, loss in enumerate((2.0, 1.5, 1.8)):
        add(folder, number, losses=(3.0, loss), kept=number != 1)
    add(folder, 3, losses=(2.9,), state="paused")
    add(folder, 4, state="failed")
    return open_study("tiny")


def numbers(rows):
    return [row.number for row in rows]


def test_trials_come_best_first_and_without_a_loss_last(study):
    assert numbers(study.trials()) == [1, 2, 0, 3, 4]


def test_trials_are_filtered_sorted_and_limited(study):
    assert numbers(study.trials("val_loss < 1.9 and params < 2500")) == [1]
    assert numbers(study.trials(sort="params")) == [0, 1, 2, 3, 4]
    assert numbers(study.trials(sort="-params", limit=2)) == [4, 3]
    assert numbers(study.trials(sort="-val_loss")) == [3, 0, 2, 1, 4]
    assert numbers(study.trials("state == 'failed' or rung == 0")) == [3, 4]
    assert numbers(study.trials("tied == true and rate < 1 and n_layer in (2)", limit=0)) == []


def test_trials_with_all_rungs_have_a_row_each(study):
    rows = study.trials("number == 1", all_rungs=True)
    assert [(row.rung, row.metrics["val_loss"]) for row in rows] == [(1, 1.5), (0, 3.0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": "val_los < 2"}, "unknown column 'val_los'; did you mean 'val_loss'"),
        ({"sort": "-parms"}, "sort: unknown column 'parms'; did you mean 'params'"),
        ({"role": "finalists"}, "role: got 'finalists'.* did you mean 'finalist'"),
        ({"limit": -1}, "limit: got -1, expected an integer >= 0"),
    ],
)
def test_trials_refuse_what_they_do_not_know(study, arguments, message):
    with pytest.raises(InputError, match=message):
        study.trials(**arguments)


def test_trials_of_an_empty_study_know_the_usual_columns(folder):
    make_study(folder)
    assert open_study("tiny").trials("val_loss < 2 and test_loss is null", sort="params") == []


def test_best_is_the_best_complete_candidate(study):
    assert study.best().number == 1


def test_best_within_limits_is_the_best_of_those(study):
    assert study.best(max_params=1000).number == 0
    assert study.best(where="val_loss > 1.5").number == 2
    with pytest.raises(NotFoundError, match="none of 3 complete candidates has params <= 10;"):
        study.best(max_params=10)


def test_best_by_latency_needs_a_measured_latency(study, folder):
    with pytest.raises(InputError, match="study 'tiny': latency_ms was not measured"):
        study.best(max_latency_ms=3)
    add(folder, 5, losses=(2.5,), latency_ms=2.0)
    assert study.best(max_latency_ms=3).number == 5


def test_best_after_the_finals_is_the_winners_best_kept_seed(study, folder):
    winner = add(folder, 5, losses=(1.7,), role="finalist", d_ff=512, kept=True)
    add(folder, 6, losses=(1.6,), role="finalist", d_ff=512, kept=True)
    add(folder, 7, losses=(1.55,), role="finalist", d_ff=512)
    with Store.open(study.url) as store:
        store.set_summary(study.record, {"winner": winner.architecture.id})
    assert study.best().number == 6
    assert study.best(where="params > 0").number == 1
    assert study.summary() == {"winner": winner.architecture.id}


def test_best_of_nothing_complete_says_what_there_is(folder):
    make_study(folder)
    study = open_study("tiny")
    with pytest.raises(NotFoundError, match=r"\(none was tried yet\); see: nas trials tiny"):
        study.best()
    for number, state in enumerate(["failed", "failed", "paused"]):
        add(folder, number, state=state)
    message = (
        r"study 'tiny': no complete candidate to load \(2 failed, 1 paused\); "
        r"see: nas trials tiny --state failed"
    )
    with pytest.raises(NotFoundError, match=message):
        study.best()


def test_best_is_the_largest_where_the_objective_is_maximised(folder):
    make_study(folder, objectives=("val_accuracy",))
    for number, accuracy in enumerate((0.4, 0.9, 0.6)):
        add(folder, number, losses=(2.0,), val_accuracy=accuracy)
    study = open_study("tiny")
    assert numbers(study.trials()) == [1, 2, 0]
    assert study.best().number == 1


def test_candidate_is_found_by_the_start_of_its_id(study):
    row = study.best()
    assert study.candidate(row.candidate_id) == row
    assert study.candidate(row.candidate_id[:6]) == row


def test_candidate_that_is_unknown_or_ambiguous_is_refused(study, folder):
    for unknown in ("zz", ""):
        with pytest.raises(NotFoundError, match=f"no candidate '{unknown}' among 5"):
            study.candidate(unknown)
    for number in range(5, 25):
        add(folder, number)
    first = [row.candidate_id[0] for row in study.trials()]
    shared = max(first, key=first.count)
    with pytest.raises(InputError, match=f"'{shared}' begins {first.count(shared)} candidates"):
        study.candidate(shared)


def test_pareto_front_is_against_params_by_default(study):
    assert numbers(study.pareto()) == [1, 0]
    assert numbers(study.pareto(["params"])) == [0]
    with pytest.raises(InputError, match="pareto: unknown column 'latency'"):
        study.pareto(["val_loss", "latency"])


def test_pareto_front_leaves_out_rows_without_an_objective(study):
    assert study.pareto(["val_loss", "test_loss"]) == []


def test_finalists_are_summed_up_by_architecture(study, folder):
    for number, loss in ((5, 1.6), (6, 1.8)):
        add(folder, number, losses=(loss,), role="reference", d_ff=512, test_loss=loss + 0.5)
    add(folder, 7, losses=(1.5,), role="finalist", d_ff=256)
    add(folder, 8, state="failed", role="finalist", d_ff=256)
    best, reference = study.finalists()
    assert (best.is_reference, reference.is_reference) == (False, True)
    assert (best.mean("val_loss"), best.sd("val_loss"), len(best.rows)) == (1.5, None, 2)
    assert reference.mean("val_loss") == pytest.approx(1.7)
    assert reference.sd("test_loss") == pytest.approx(0.1 * 2**0.5)
    assert best.mean("test_loss") is None


def test_candidate_by_anything_but_text_is_refused(study):
    with pytest.raises(InputError, match="candidate: got 3, expected an id or the start of one"):
        study.candidate(3)


def test_evaluations_are_all_rungs_of_a_candidate(study):
    row = study.best()
    found = study.evaluations(row.candidate_id)
    assert [(e.evaluation.rung, e.metrics) for e in found] == [
        (0, {"val_loss": 3.0}),
        (1, {"val_loss": 1.5}),
    ]


def test_optuna_study_opens_once_a_candidate_was_mirrored(study):
    with pytest.raises(NotFoundError, match="nothing for Optuna before a candidate has ended"):
        study.optuna_study()
    mirror = Mirror(study.url, "tiny", objectives=study.objectives, parameters=[Layers()])
    mirror.add(study.trials(), study.evaluations())
    mirror.close()
    assert study.optuna_study().best_value == 1.5


class Layers:
    name, low, high, step = "n_layer", 1, 4, 1


def test_to_dataframe_without_pandas_says_how_to_get_it(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        study.to_dataframe()


def test_to_dataframe_has_a_row_a_candidate(study):
    need_module("pandas", "pip install pandas")
    frame = study.to_dataframe("state == 'complete'")
    assert list(frame["number"]) == [1, 2, 0]


def test_study_is_found_by_name_path_and_url(study, folder, monkeypatch):
    db = folder / "tiny" / "study.db"
    for where in ("tiny", folder / "tiny", db, f"sqlite:///{db}", f"sqlite:///{db}#tiny"):
        found = open_study(where)
        assert (found.name, found.folder) == ("tiny", folder / "tiny")
        assert found.best().number == 1
    monkeypatch.chdir(folder)
    relative = open_study("tiny/study.db")
    monkeypatch.chdir("/")
    assert relative.best().number == 1


def test_path_wins_over_a_name_in_the_studies_folder(study, folder, tmp_path):
    make_study(tmp_path)
    assert open_study("tiny").folder == tmp_path / "tiny"


def test_moved_study_keeps_its_name(study, folder):
    (folder / "tiny").rename(folder / "moved")
    assert open_study("moved").name == "tiny"


def test_unknown_study_names_the_nearest_and_what_there_is(study):
    with pytest.raises(NotFoundError, match=r"no study 'tinny' in .*there are: tiny; did you mean"):
        open_study("tinny")


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, "../..", "no/such"])
def test_impossible_name_is_not_found(name):
    with pytest.raises(NotFoundError):
        open_study(name)


def test_first_study_is_asked_for_where_there_is_none():
    with pytest.raises(NotFoundError, match="there are none; start one: nas search"):
        open_study("tiny")
    with pytest.raises(NotFoundError, match="start one with: nas search"):
        newest_study()
    assert list_studies() == []


def test_folder_without_a_database_is_said_to_be_so(tmp_path):
    (tmp_path / "stuff").mkdir()
    with pytest.raises(NotFoundError, match=r"stuff: no study\.db in this folder"):
        open_study("stuff")


def test_file_that_is_no_study_is_refused(tmp_path):
    (tmp_path / "study.yaml").write_text("format_version: 1\nspace: llama_tiny\n" * 20)
    with pytest.raises(InputError, match=r"study\.yaml: is no SQLite file"):
        open_study("study.yaml")


def test_database_of_several_studies_needs_a_name(folder):
    make_study(folder)
    with Store.open(folder / "tiny" / "study.db") as store:
        record = store.study("tiny")
        fields = ("config", "identity", "rungs", "objectives", "data_fingerprint", "task_spec")
        store.create_study("other", versions={}, **{f: getattr(record, f) for f in fields})
    url = f"sqlite:///{folder}/tiny/study.db"
    with pytest.raises(InputError, match=r"which study.*append #NAME.*it holds: tiny, other"):
        open_study(url)
    assert open_study(f"{url}#other").name == "other"
    with pytest.raises(NotFoundError, match="no study 'othr'; it holds: tiny, other; did you mean"):
        open_study(f"{url}#othr")


def test_newest_study_is_the_one_written_to_last(folder):
    for age, name in enumerate(("a", "b", "c")):
        make_study(folder, name)
        os.utime(folder / name / "study.db", (1e9 - age, 1e9 - age))
    assert list_studies() == ["a", "b", "c"]
    assert newest_study().name == "a"
    os.utime(folder / "b" / "study.db")
    assert newest_study().name == "b"


def test_secret_of_a_url_is_in_no_message():
    url = "postgresql://user:se%23cret@127.0.0.1:1/db?connect_timeout=1#tiny"
    with pytest.raises(StoreError) as error:
        open_study(url)
    assert "cret" not in str(error.value)


def test_asking_a_study_imports_neither_torch_nor_optuna(study):
    code = (
        "import sys, nas.study as s; s.open_study('tiny').trials('val_loss < 2');"
        "sys.exit(str({'torch', 'optuna', 'alembic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV)
    assert done.stderr.strip() == "set()"


ENV = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
