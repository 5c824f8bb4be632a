"""What every row of `TASKS` promises; a new task joins by its row and a case in conftest.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stand_ins import draw_matrices
from task_cases import CASES, request_for

import nas
from nas.config import config_from_plain
from nas.data import PreparedData, source_changed
from nas.errors import DataError, NotFoundError
from nas.families import FAMILIES, shape_class
from nas.records import HEADS
from nas.tasks import SPECIAL_FIELDS, TASKS, task_class
from nas.tasks.metrics import badness
from nas.training.loop import fresh_network


def made(name, prepared, seed=0, **recipe):
    return task_class(name)(prepared, CASES[name].recipe(**recipe), seed)


def network_for(name, prepared, seed=0):
    return fresh_network(CASES[name].shape, prepared.spec, seed)


def same(first, second):
    if isinstance(first, tuple):
        return all(same(a, b) for a, b in zip(first, second, strict=True))
    return np.array_equal(first, second)


def trained(name, prepared, **recipe):
    task, network = made(name, prepared, **recipe), network_for(name, prepared)
    optimizer = torch.optim.AdamW(network.parameters(), lr=CASES[name].rate / 4)
    network.train()
    for step in range(CASES[name].steps):
        optimizer.zero_grad()
        task.loss(network, task.batch(step)).backward()
        optimizer.step()
    return task, network.eval()


@torch.no_grad()
def measured(task, network, split="val", max_tokens=10**9):
    return task.evaluate(network.eval(), split, max_tokens=max_tokens)


@pytest.mark.parametrize("name", TASKS)
def test_class_has_what_its_row_promises(name):
    task = task_class(name)
    assert task.name == name
    assert task.head in HEADS
    assert task.metrics[0] == "loss"
    assert task.description
    assert all(option.help for option in task.options.values())
    assert any(task.head in shape_class(family).heads for family in FAMILIES)


def test_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(NotFoundError, match=r"unknown task 'text_clasification'.*text_classif"):
        task_class("text_clasification")


@pytest.mark.parametrize("name", TASKS)
def test_data_is_prepared_once_and_known_again(name, prepared_for):
    prepared = prepared_for(name)
    assert PreparedData.open(prepared.folder) == prepared
    assert prepared.spec.task == name
    assert prepared.spec.head == task_class(name).head
    assert prepared.has("train")
    assert prepared.has("val")
    assert prepared.has("test")
    assert not source_changed(prepared, prepared.info.sources)
    request = request_for(name, prepared.info.sources["all"])
    assert task_class(name).prepare(request, prepared.folder) == prepared


@pytest.mark.parametrize("name", TASKS)
def test_same_source_gives_the_same_fingerprint_elsewhere(name, prepared_for, tmp_path):
    request = request_for(name, prepared_for(name).info.sources["all"])
    again = task_class(name).prepare(request, tmp_path / "again")
    assert again.info.fingerprint == prepared_for(name).info.fingerprint


@pytest.mark.parametrize("name", TASKS)
def test_batch_is_a_function_of_seed_and_step_alone(name, prepared_for):
    hidden = {"token_dropout": 0.2, "augment": "shift_flip"}
    first, second = (made(name, prepared_for(name), seed=3, **hidden) for _ in range(2))
    forwards = [first.batch(step) for step in range(40)]
    backwards = [second.batch(step) for step in reversed(range(40))]
    assert all(same(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))
    other = made(name, prepared_for(name), seed=4, **hidden)
    assert not all(same(batch, other.batch(step)) for step, batch in enumerate(forwards))


SOME = {"label_smoothing": 0.3, "class_weights": "balanced"}
SOME |= {"token_dropout": 0.5, "augment": "shift_flip"}


@pytest.mark.parametrize("field", SPECIAL_FIELDS)
@pytest.mark.parametrize("name", TASKS)
def test_a_recipe_field_changes_training_if_the_task_obeys_it(name, field, prepared_for):
    prepared, losses = prepared_for(name), []
    network = network_for(name, prepared)
    draw_matrices(network, torch.Generator().manual_seed(0))
    for recipe in ({}, {field: SOME[field]}):
        task = made(name, prepared, **recipe)
        with torch.no_grad():
            losses.append([float(task.loss(network, task.batch(step))) for step in range(3)])
    assert (losses[0] != losses[1]) == (field in task_class(name).recipe_fields)


@pytest.mark.parametrize("name", TASKS)
def test_measurement_names_its_metrics_and_repeats(name, prepared_for):
    task, network = made(name, prepared_for(name)), network_for(name, prepared_for(name))
    found = measured(task, network)
    assert tuple(found) == task.metrics
    assert found == measured(made(name, prepared_for(name), seed=9), network)
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.parametrize("name", TASKS)
def test_measurement_under_a_cap_reads_fewer(name, prepared_for):
    task, network = made(name, prepared_for(name)), network_for(name, prepared_for(name))
    torch.nn.init.normal_(next(iter(network.parameters())))
    few = measured(task, network, max_tokens=4 * CASES[name].context)
    assert few["loss"] != measured(task, network)["loss"]


@pytest.mark.parametrize("name", TASKS)
def test_training_makes_every_metric_better_on_unseen_data(name, prepared_for):
    prepared = prepared_for(name)
    before = measured(made(name, prepared), network_for(name, prepared), "test")
    task, network = trained(name, prepared)
    after = measured(task, network, "test")
    for metric, value in after.items():
        if before[metric] != 1.0:  # top five of fewer classes
            assert badness(value, metric) < badness(before[metric], metric), metric


@pytest.mark.parametrize("name", TASKS)
def test_a_split_that_was_not_kept_is_refused(name, prepared_for, tmp_path):
    from nas.data import Split

    source = prepared_for(name).info.sources["all"]
    request = request_for(name, source, split=Split(train=0.8, val=0.2, test=0))
    prepared = task_class(name).prepare(request, tmp_path / "data")
    assert not prepared.has("test")
    with pytest.raises(DataError, match="no 'test' split was kept"):
        measured(made(name, prepared), network_for(name, prepared), "test")


@pytest.mark.parametrize("name", TASKS)
def test_missing_and_empty_sources_are_refused(name, tmp_path):
    with pytest.raises(DataError, match="nothing-here"):
        task_class(name).prepare(request_for(name, "nothing-here.csv"), tmp_path / "a")
    empty = tmp_path / ("empty.npz" if name == "image_classification" else "empty.csv")
    empty.write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        task_class(name).prepare(request_for(name, str(empty)), tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", TASKS)
def test_unknown_builtin_data_is_refused_with_what_there_is(name, tmp_path):
    with pytest.raises(DataError, match=r"builtin:nothing.*known: builtin:"):
        task_class(name).prepare(request_for(name, "builtin:nothing"), tmp_path / "data")


@pytest.mark.parametrize("name", TASKS)
def test_a_search_stores_a_model_that_loads(name, prepared_for, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path))
    case, metric = CASES[name], task_class(name).metrics[-1]
    shape = dict(case.shape.shape)
    plain = {
        "format_version": 1,
        "space": {
            "format_version": 1,
            "family": case.shape.family,
            "fixed": {key: shape[key] for key in shape if key not in ("d_ff", "n_layer")},
            "dimensions": {"n_layer": {"choices": [1, 2]}, "d_ff": {"choices": [32, 64]}},
            "reference": shape,
        },
        "task": {"name": name, "data": prepared_for(name).info.sources["all"], **case.options},
        "recipe": {"context": case.context, "batch": 8, "dropout": 0.1, "early_stop": 3},
        "objectives": [f"val_{metric}"],
        "per_candidate": {"examples": 96},
        "finalists": {"top": 1, "seeds": 1},
        "stop": {"candidates": 2},
        "strategy": "random",
        "executor": "inline",
        "device": "cpu",
        "workers": 1,
    }
    study = nas.search(config_from_plain(plain, where="test", name="small"))
    values = [row.metrics[f"val_{metric}"] for row in study.trials()]
    assert study.best().metrics[f"val_{metric}"] == min(
        values, key=lambda value: badness(value, metric)
    )
    assert {f"test_{one}" for one in task_class(name).metrics} <= set(
        study.finalists()[0].rows[0].metrics
    )
    model = nas.load(study, verify=True)
    assert model.task_spec == study.record.task_spec
