"""Which study file is meant, what is set over it, and what makes it another study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from config_cases import LATENCY, PLAIN, SPACE, config_of, write_file

from nas.config import (
    LatencyConfig,
    StopConfig,
    config_from_plain,
    find_study_file,
    identity_diff,
    load_config,
    parse_set,
)
from nas.errors import ConfigError, InputError, NotFoundError
from nas.shipped import shipped_folder

STUDIES = Path(__file__).parent.parent / "studies"


def test_a_name_is_found_in_the_users_studies_before_the_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAS_STUDIES", raising=False)
    assert find_study_file("quickstart") == shipped_folder("studies") / "quickstart.yaml"
    write_file(tmp_path / "studies" / "quickstart.yaml", PLAIN | {"seed": 5})
    assert load_config("quickstart").seed == 5
    write_file(tmp_path / "elsewhere" / "quickstart.yaml", PLAIN | {"seed": 6})
    monkeypatch.setenv("NAS_STUDIES", "elsewhere")
    assert load_config("quickstart", name="other").seed == 6
    assert load_config("quickstart", name="other").name == "other"


def test_an_unknown_study_is_refused_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match=r"no study file 'quikstart'.*'quickstart'\?"):
        load_config("quikstart")
    with pytest.raises(ConfigError, match=r"no/such\.yaml: cannot be read: No such file"):
        load_config("no/such.yaml")
    with pytest.raises(InputError, match=r"study name '\.\.'"):
        load_config("..")


def test_a_file_whose_name_is_no_study_name_needs_another(tmp_path: Path) -> None:
    path = write_file(tmp_path / "my study.yaml", PLAIN)
    with pytest.raises(InputError, match=r"study name 'my study'.*choose one with --name"):
        load_config(path)
    assert load_config(path, name="mine").name == "mine"


def test_space_and_data_are_found_beside_the_study_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path / "deep" / "tiny.yaml", SPACE)
    (tmp_path / "deep" / "text.txt").write_text("text")
    task = {"name": "language_modeling", "data": "text.txt"}
    path = write_file(tmp_path / "deep" / "s.yaml", PLAIN | {"space": "tiny.yaml", "task": task})
    config = load_config("deep/s.yaml")
    assert config.space == config_of().space
    assert config.task.data == str(Path("deep") / "text.txt")
    assert config.identity() == load_config(path).identity()
    (tmp_path / "text.txt").write_text("nearer")
    assert load_config("deep/s.yaml").task.data == "text.txt"


def test_overrides_reach_nested_keys_and_are_named_in_errors(tmp_path: Path) -> None:
    path = write_file(tmp_path / "s.yaml", PLAIN)
    overrides = dict(map(parse_set, ["stop.minutes=5", "recipe.rate=0.01", "objectives=[params]"]))
    config = load_config(path, overrides=overrides | {"space": "llama_tiny", "seed": 3})
    assert config.stop == StopConfig(candidates=None, minutes=5.0)
    assert (config.recipe.rate, config.objectives, config.seed) == (0.01, ("params",), 3)
    assert config.space.name == "llama_tiny"
    with pytest.raises(ConfigError, match=r"s\.yaml with keep set: keep: got 'many' \(str\)"):
        load_config(path, overrides={"keep": "many"})
    with pytest.raises(ConfigError, match=r"s\.yaml: task\.name: got .*no 'x' to set"):
        load_config(path, overrides={"task.name.x": 1})


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("stop.minutes=5", "stop.minutes", 5),
        ("task.data=builtin:python-docs", "task.data", "builtin:python-docs"),
        ("task.data=a=b.txt", "task.data", "a=b.txt"),
        ("recipe.rate=1e-7", "recipe.rate", "1e-7"),
        ("split={train: 0.9, val: 0.1, test: 0}", "split", {"train": 0.9, "val": 0.1, "test": 0}),
        ("workers=null", "workers", None),
    ],
)
def test_set_reads_its_value_as_a_study_file_does(text: str, key: str, value: Any) -> None:
    assert parse_set(text) == (key, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("minutes", r"--set: got 'minutes', expected KEY=VALUE such as stop\.minutes=5"),
        ("=5", r"--set: got '=5', expected KEY=VALUE"),
        ("stop..minutes=5", r"--set: got"),
        ("stop={", r"--set stop: line"),
        ("seed=010", r"--set seed: .*010 in base 8"),
    ],
)
def test_set_refuses_what_is_no_setting(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_set(text)


def test_identity_is_the_same_where_only_limits_changed() -> None:
    old = config_of(latency=LATENCY)
    new = config_of(
        latency=LATENCY,
        stop={"minutes": 9},
        executor="inline",
        strategy="random",
        keep=1,
        device="cpu",
        workers=1,
        finalists={"top": 1},
    )
    assert identity_diff(old.identity(), new.identity()) == []


def test_latency_limit_may_change_and_what_is_measured_may_not() -> None:
    old = config_of(latency=LATENCY)
    assert old.latency is not None
    limited = config_of(latency={**LATENCY, "max_ms": 5})
    assert limited.latency is not None
    assert limited.latency.max_ms == 5
    assert limited.latency.spec == old.latency.spec
    assert identity_diff(old.identity(), limited.identity()) == []
    other = config_of(latency={**LATENCY, "batch": 3})
    assert identity_diff(old.identity(), other.identity()) == [
        "latency.batch: 2 in the study, 3 asked for"
    ]


@pytest.mark.parametrize(
    ("objectives", "section", "expected"),
    [
        (["val_loss"], None, None),
        (["val_loss", "latency_ms"], None, ("decode", 1, 64)),
        (["val_loss", "throughput"], None, ("throughput", 32, 64)),
        (["val_loss"], {}, ("decode", 1, 64)),
        (["val_loss"], {"phase": "throughput", "batch": 4, "context": 8}, ("throughput", 4, 8)),
    ],
)
def test_latency_section_is_filled_in_where_it_is_asked_for(
    objectives: list[str], section: dict[str, Any] | None, expected: tuple[Any, ...] | None
) -> None:
    config = config_of(objectives=objectives, latency=section)
    found = config.latency
    assert (found and (found.phase, found.batch, found.context)) == expected
    assert config_from_plain(config.to_plain(), where="again", name="s") == config


def test_phase_is_one_that_the_tasks_models_have() -> None:
    changes: dict[str, Any] = {
        "space": "bert_tiny",
        "task": {"name": "text_classification", "data": "builtin:docstrings"},
        "objectives": ["val_loss", "latency_ms"],
    }
    latency = config_of(**changes).latency
    assert latency is not None
    assert latency.phase == "prefill"
    with pytest.raises(ConfigError, match=r"latency\.phase: got 'decode', but classify models"):
        config_of(**changes, latency={"phase": "decode"})


def test_identity_diff_says_what_changed() -> None:
    old = config_of()
    recipe = replace(old.recipe, batch=16)
    new = replace(old, recipe=recipe, seed=1, latency=LatencyConfig(phase="decode"))
    assert identity_diff(old.identity(), new.identity())[:3] == [
        "recipe.batch: 12 in the study, 16 asked for",
        "seed: 0 in the study, 1 asked for",
        "latency.phase: nothing in the study, decode asked for",
    ]
    other = config_of(space={**SPACE, "constraints": {"max_params": 50000}})
    assert identity_diff(old.identity(), other.identity()) == [
        "space.constraints.max_params: 100000.0 in the study, 50000.0 asked for"
    ]


def test_identity_knows_data_by_name_wherever_it_lies() -> None:
    def data(name: str) -> dict[str, Any]:
        task = {"name": "language_modeling", "data": name}
        identity: dict[str, Any] = config_of(task=task).identity()["task"]
        return identity

    assert data("corpus.txt") == data("/somewhere/else/corpus.txt")
    assert data("corpus.txt") != data("other.txt")
    assert data("builtin:python-docs")["data"] == "builtin:python-docs"
