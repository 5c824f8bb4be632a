"""Loggers: what each writes is read back by its own readers; one that fails harms no search."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from needs import need_module

import nas
from nas.cli import main
from nas.driver import loggers as driver_loggers
from nas.driver.events import CandidateStarted, Note
from nas.driver.loggers import Background, Telling
from nas.errors import ConfigError, InputError, UntrustedError
from nas.families import architecture
from nas.loggers import LOGGERS, NEEDS, Run, logger_class, means_of
from nas.records import Evaluation, Outcome, Progress, Recipe

SUMMARY = {
    "winner": "aaaa",
    "reference": "bbbb",
    "finalists": [
        {"architecture_id": "aaaa", "metrics": {"val_loss": {"mean": 1.5}}},
        {"architecture_id": "bbbb", "metrics": {"val_loss": {"mean": 1.75}}},
    ],
    "against_reference": {},
}
INSTALL = "pip install 'transformer-nas[tensorboard,mlflow]'"


def run_of(candidate_id="c1", start=0, architecture_id="aaaa", number=7, role="search"):
    return Run(
        candidate_id=candidate_id,
        architecture_id=architecture_id,
        number=number,
        role=role,
        seed=3,
        hyperparameters={"family": "llama", "n_layer": 4, "rate": 0.5, "tied": True},
        start=start,
    )


def tell_two_runs(make):
    """A candidate that is interrupted at 300 tokens of 400 told, and another one that fails."""
    logger = make()
    logger.begin(run_of())
    logger.begin(run_of("c2", architecture_id="bbbb", number=8))
    for tokens in (100, 200, 300, 400):
        logger.log("c1", tokens, {"train_loss": 4 - tokens / 100})
    logger.log("c1", 300, {"val_loss": 1.0, "val_accuracy": 0.5})
    logger.end("c1", "interrupted", "")
    logger.end("c2", "failed", "ValueError: no")
    logger.close()
    logger = make()
    logger.begin(run_of(start=300))
    logger.log("c1", 400, {"train_loss": 0.0})
    logger.log("c1", 500, {"train_loss": -1.0, "val_loss": 0.5})
    logger.end("c1", "complete", "")
    logger.begin(run_of("c3", number=7, role="finalist"))
    logger.log("c3", 500, {"val_loss": 0.25})
    logger.end("c3", "complete", "")
    logger.finish(SUMMARY)
    logger.finish({**SUMMARY, "winner": "bbbb"})  # a raised limit has changed it
    logger.close()


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    points = {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }
    return points, found


def test_tensorboard_reads_back_what_was_told_and_nothing_twice(tmp_path):
    need_module("tensorboard", INSTALL)
    kind = logger_class("tensorboard")
    tell_two_runs(lambda: kind(study="tiny", folder=tmp_path))
    folders = {path.name for path in (tmp_path / "tensorboard").iterdir()}
    assert folders == {"0007-c1", "0008-c2", "0007-finalist-seed-3-c3", "result"}
    points, found = scalars(tmp_path / "tensorboard" / "0007-c1")
    assert points == {
        "train/loss": [(100, 3), (200, 2), (300, 1), (400, 0), (500, -1)],
        "val/loss": [(300, 1), (500, 0.5)],
        "val/accuracy": [(300, 0.5)],
    }
    states = [event.tensor_proto.string_val[0] for event in found.Tensors("state")]
    assert states == [b"interrupted", b"complete"]
    points, found = scalars(tmp_path / "tensorboard" / "result")
    assert points["winner_val_loss"] == points["reference_val_loss"] == [(0, 1.75)]
    first, text = found.Tensors("tiny")  # a result that was true once stays to be read
    assert b'"winner": "aaaa"' in first.tensor_proto.string_val[0]
    assert b'"winner": "bbbb"' in text.tensor_proto.string_val[0]


def test_tensorboard_shows_hyperparameters(tmp_path):
    need_module("tensorboard", INSTALL)
    from tensorboard.plugins.hparams import metadata

    kind = logger_class("tensorboard")
    tell_two_runs(lambda: kind(study="tiny", folder=tmp_path))
    _, found = scalars(tmp_path / "tensorboard" / "0008-c2")
    contents = found.PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(contents[metadata.SESSION_START_INFO_TAG])
    assert start.hparams["n_layer"].number_value == 4
    assert start.hparams["family"].string_value == "llama"
    assert start.hparams["tied"].bool_value is True
    end = metadata.parse_session_end_info_plugin_data(contents[metadata.SESSION_END_INFO_TAG])
    assert end.status == 2  # STATUS_FAILURE


@pytest.mark.slow
def test_mlflow_reads_back_what_was_told_and_nothing_twice(tmp_path, monkeypatch):
    need_module("mlflow", INSTALL)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    kind = logger_class("mlflow")
    tell_two_runs(lambda: kind(study="tiny", folder=tmp_path))
    client, experiment, runs = mlflow_runs(tmp_path, "tiny")
    one, two, three = (runs[own] for own in ("c1", "c2", "c3"))
    history = client.get_metric_history(one.info.run_id, "train_loss")
    assert [(m.step, m.value) for m in history] == [
        (100, 3), (200, 2), (300, 1), (400, 0), (500, -1),
    ]  # fmt: skip
    assert [m.step for m in client.get_metric_history(one.info.run_id, "val_loss")] == [300, 500]
    assert one.data.params == {
        "family": "llama", "n_layer": "4", "rate": "0.5", "tied": "True", "seed": "3",
    }  # fmt: skip
    assert (one.info.run_name, three.info.run_name) == ("#7", "#7 finalist seed 3")
    assert (one.info.status, two.info.status) == ("FINISHED", "FAILED")
    assert two.data.tags["nas.error"] == "ValueError: no"
    assert [run.data.tags.get("nas.winner") for run in (one, two, three)] == [None, "true", None]
    assert experiment.tags["nas.winner_val_loss"] == "1.75"


def mlflow_runs(folder, study):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study)
    found = client.search_runs([experiment.experiment_id])
    runs = {run.data.tags["nas.candidate_id"]: run for run in found}
    assert len(runs) == len(found)
    return client, experiment, runs


@pytest.mark.slow
def test_a_search_that_is_interrupted_and_goes_on_is_logged_once_in_both(configure, monkeypatch):
    for name in NEEDS.values():
        need_module(name, INSTALL)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = configure(
        logger=["tensorboard", "mlflow"], per_candidate={"tokens": 150_000, "eta": 1}
    )

    def leave(event):
        if isinstance(event, Progress) and event.train_loss is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nas.search(config, listener=leave)
    study = nas.search(config)
    _, experiment, runs = mlflow_runs(study.folder, "tiny")
    rows = {row.candidate_id: row for row in study.trials()}
    assert runs.keys() == rows.keys()
    winner = study.summary()["winner"]
    marked = {own for own, run in runs.items() if run.data.tags.get("nas.winner")}
    assert marked == {own for own, row in rows.items() if row.architecture_id == winner}
    assert experiment.tags["nas.winner"] == winner
    folders = {path.name.split("-")[-1]: path for path in (study.folder / "tensorboard").iterdir()}
    assert folders.keys() == rows.keys() | {"result"}
    for own, row in rows.items():
        points, _ = scalars(folders[own])
        told = {e.evaluation.tokens: e.evaluation.metrics for e in study.evaluations(own)}
        assert [step for step, _ in points["val/loss"]] == sorted(told)
        assert points["val/loss"][-1][1] == pytest.approx(row.metrics["val_loss"])
        steps = [step for step, _ in points["train/loss"]]
        assert steps == sorted(set(steps))
        assert steps[-1] == row.tokens
        assert runs[own].data.metrics["val_loss"] == row.metrics["val_loss"]
        assert runs[own].info.status == "FINISHED"


class Recorder:
    """A logger of the user's own, as its import string names it."""

    calls: list[tuple[object, ...]] = []  # noqa: RUF012 - the class is all that a test can reach

    def __init__(self, *, study: str, folder: Path) -> None:
        self.calls.append(("init", study, folder.name, threading.current_thread().name))

    def begin(self, run: Run) -> None:
        self.calls.append(("begin", run.candidate_id, run.start))

    def log(self, candidate_id, tokens, values) -> None:
        self.calls.append(("log", candidate_id, tokens, dict(values)))

    def end(self, candidate_id, state, error) -> None:
        self.calls.append(("end", candidate_id, state))

    def finish(self, summary) -> None:
        self.calls.append(("finish", summary["winner"]))

    def close(self) -> None:
        self.calls.append(("close",))


MODULE = """
from nas.loggers import Run

class Failing:
    def __init__(self, *, study, folder):
        self.told = 0
    def begin(self, run: Run): pass
    def log(self, candidate_id, tokens, values):
        self.told += 1
        if self.told == 2:
            raise ValueError("the disk of the\\nlogger is full")
    def end(self, candidate_id, state, error): pass
    def finish(self, summary): pass
    def close(self): pass
"""


def test_a_logger_that_fails_says_so_once_and_the_search_goes_on(configure, tmp_path, monkeypatch):
    (tmp_path / "failing_logger.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    notes = []
    config = configure(stop={"candidates": 2}, finalists={"top": 0})
    config = replace(config, loggers=("failing_logger:Failing",))
    study = nas.search(
        config, listener=lambda event: notes.append(event.text) if isinstance(event, Note) else None
    )
    assert study.record.state == "finished"
    assert notes == [
        "logger 'failing_logger:Failing' failed and is told no more; the search goes on: "
        "ValueError: the disk of the logger is full"
    ]


def telling(logger, notes):
    one = Background("own", lambda: logger)
    return Telling([one], notes.append), one


def told_by(*events):
    """What a logger is told of these events."""
    logger = Recorder(study="tiny", folder=Path("tiny"))
    Recorder.calls.clear()
    notes = []
    tell, one = telling(logger, notes)
    for event in events:
        tell(event)
    assert one.close(time.monotonic() + 10) == ""
    assert notes == []
    return list(Recorder.calls)


def started(tokens=0):
    return CandidateStarted(
        number=1, candidate_id="c1", role="search", seed=0,
        architecture=architecture("llama", n_layer=2, d_model=32, n_head=2, d_ff=(64, 32)),
        recipe=Recipe(context=16, batch=8, rate=0.01), columns={"params": 9.0}, tokens=tokens,
        goal=1000,
    )  # fmt: skip


def progress(tokens, loss):
    return Progress(candidate_id="c1", tokens=tokens, train_loss=loss, seconds=1.0)


def ended(*evaluations, state="complete"):
    from nas.driver.events import CandidateEnded

    outcome = Outcome(candidate_id="c1", state=state, tokens=1000, evaluations=evaluations)
    return CandidateEnded(
        number=1, role="search", outcome=outcome, value=1.0, paused_at=None, tried=1, best=1.0,
        reference=None, remaining=None,
    )  # fmt: skip


def evaluation(tokens, loss, *curve):
    metrics = {"val": {"loss": loss}, "": {"latency_ms": 2.0}}
    return Evaluation(rung=0, tokens=tokens, seconds=1.0, metrics=metrics, curve=curve)


def test_the_training_loss_is_told_as_it_comes_and_the_rest_at_the_end():
    calls = told_by(
        started(),
        progress(100, None),
        progress(210, 3.0),
        progress(260, 3.0),
        progress(300, float("nan")),
        ended(evaluation(1000, 1.5, (200, 3.0), (400, 2.0), (1000, 1.75))),
    )
    assert calls == [
        ("begin", "c1", 0),
        ("log", "c1", 210, {"train_loss": 3.0}),
        ("log", "c1", 400, {"train_loss": 2.0}),
        ("log", "c1", 1000, {"train_loss": 1.75, "val_loss": 1.5, "latency_ms": 2.0}),
        ("end", "c1", "complete"),
        ("close",),
    ]


def test_a_job_tells_nothing_of_what_earlier_ones_have_told():
    first = evaluation(400, 2.5, (200, 3.0), (400, 2.0))
    last = evaluation(1000, 1.5, (200, 3.0), (400, 2.0), (800, 1.9))
    calls = told_by(started(tokens=400), ended(first, last))
    assert calls[1:-2] == [
        ("log", "c1", 800, {"train_loss": 1.9}),
        ("log", "c1", 1000, {"val_loss": 1.5, "latency_ms": 2.0}),
    ]


def test_a_logger_that_hangs_holds_nobody(monkeypatch):
    monkeypatch.setattr(driver_loggers, "CLOSE_SECONDS", 0.1)
    release = threading.Event()

    class Hanging(Recorder):
        def log(self, candidate_id, tokens, values):
            release.wait()

    notes = []
    tell, one = telling(Hanging(study="tiny", folder=Path("tiny")), notes)
    begun = time.monotonic()
    for event in (started(), progress(100, 1.0), progress(200, 2.0)):
        tell(event)
    words = one.close(time.monotonic() + 0.1)
    assert time.monotonic() - begun < 5
    assert words.startswith("logger 'own' is not done after 0 s; what it has not written")
    release.set()


def test_means_are_of_winner_and_reference():
    assert means_of(SUMMARY) == {"winner_val_loss": 1.5, "reference_val_loss": 1.75}
    assert means_of({"winner": None, "reference": None, "finalists": []}) == {}


def test_every_logger_of_the_table_can_be_had():
    for name in LOGGERS:
        need_module(NEEDS[name], INSTALL)
        assert logger_class(name).__doc__


def test_one_that_is_not_installed_is_told_before_anything_is_made(
    configure, tmp_path, monkeypatch
):
    monkeypatch.setitem(NEEDS, "mlflow", "no_such_module_here")
    with pytest.raises(InputError, match=r"pip install 'transformer-nas\[mlflow\]'"):
        nas.search(configure(logger="mlflow"))
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tensorbord", "logger: unknown logger 'tensorbord'.*did you mean 'tensorboard'"),
        (["mlflow", "mlflow"], "logger: 'mlflow' given twice"),
        ([7], "logger: got 7"),
    ],
)
def test_a_wrong_name_is_refused_where_it_stands(configure, given, message):
    with pytest.raises(ConfigError, match=message):
        configure(logger=given)


def test_names_in_the_study_file_are_kept_and_may_change(configure):
    assert configure(logger="mlflow").loggers == ("mlflow",)
    config = configure(logger=["mlflow", "tensorboard"])
    assert config.to_plain()["logger"] == ["mlflow", "tensorboard"]
    assert "logger" not in config.identity()
    assert configure().to_plain()["logger"] == []


def test_code_that_a_file_names_as_a_logger_needs_trust(configure):
    with pytest.raises(UntrustedError, match=r"logger\[0\]: 'mine.logs:Log' is code outside nas"):
        configure(logger=["mine.logs:Log"])
    with pytest.raises(UntrustedError, match=r"logger\[0\]"):
        configure(logger="mine.logs:Log")


def test_command_line_names_loggers(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["search", "--logger", "mlfow", "--dry-run"]) == 2
    assert "unknown logger 'mlfow'" in capsys.readouterr().err
