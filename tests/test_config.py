"""The study file: every file shipped loads, everything wrong in one is refused in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from config_cases import LATENCY, PLAIN, SPACE, config_of

from nas.config import (
    BudgetConfig,
    FinalistsConfig,
    LatencyConfig,
    RecipeConfig,
    StopConfig,
    check_study_name,
    config_from_plain,
    identity_diff,
    load_config,
)
from nas.data import Split
from nas.errors import ConfigError, InputError
from nas.shipped import shipped_folder, shipped_names

STUDIES = Path(__file__).parent.parent / "studies"


@pytest.mark.parametrize("name", shipped_names("studies"))
def test_every_shipped_study_loads_and_round_trips(name: str) -> None:
    config = load_config(shipped_folder("studies") / f"{name}.yaml")
    assert config.name == name
    assert config.space.reference is not None
    assert config_from_plain(config.to_plain(), where="again", name=name) == config


def test_defaults_are_those_of_the_documents() -> None:
    config = config_of()
    assert config.split == Split(train=0.8, val=0.1, test=0.1)
    assert config.recipe == RecipeConfig(context=64, batch=12, rate=None, precision="auto")
    assert config.objectives == ("val_loss",)
    assert config.budget == BudgetConfig(amount=400_000, unit="tokens", rungs=None)
    assert config.finalists == FinalistsConfig(top=3, seeds=3)
    assert config.stop == StopConfig(candidates=40, minutes=None)
    assert config.latency is None
    assert (config.strategy, config.executor, config.device) == ("auto", "processes", "auto")
    assert (config.workers, config.keep, config.seed) == (None, 5, 0)


def test_a_full_file_round_trips_through_json() -> None:
    config = config_of(
        split={"train": 0.9, "val": 0.1, "test": 0},
        recipe={"context": 32, "batch": 4, "rate": 0.003, "precision": "fp32", "dropout": 0.1},
        objectives=["val_bits_per_byte", "params"],
        per_candidate={"tokens": 1000, "rungs": [200, 1000]},
        finalists={"top": 0, "seeds": 1},
        stop={"minutes": 1.5, "candidates": None},
        latency=LATENCY,
        strategy="random",
        executor="inline",
        workers=2,
        device="cuda:1",
        keep=1,
        seed=7,
    )
    assert config.recipe.rate == 0.003
    assert config.stop == StopConfig(candidates=None, minutes=1.5)
    assert config.latency == LatencyConfig(**LATENCY)
    plain = json.loads(json.dumps(config.to_plain()))
    assert config_from_plain(plain, where="again", name="s") == config
    assert json.loads(json.dumps(config.identity())) == config.identity()


@pytest.mark.parametrize(
    ("budget", "rungs"),
    [
        (BudgetConfig(amount=1000), (200, 1000)),
        (BudgetConfig(amount=1099), (200, 1000)),
        (BudgetConfig(amount=250), (100, 200)),
        (BudgetConfig(amount=199), (100,)),
        (BudgetConfig(amount=1000, rungs=(150, 500, 1000)), (100, 500, 1000)),
    ],
)
def test_rungs_are_whole_steps(budget: BudgetConfig, rungs: tuple[int, ...]) -> None:
    assert budget.resolve(tokens_per_step=100) == rungs


@pytest.mark.parametrize(
    ("rungs", "per_token", "tokens"),
    [
        (None, 10.0, (2_500, 10_000)),
        (None, 7.0, (3_500, 14_200)),
        ((20_000.0, 50_000.0, 100_000.0), 10.0, (2_000, 5_000, 10_000)),
        ((20_000.0, 20_001.0, 100_000.0), 10.0, (2_000, 2_100, 10_000)),  # a step apart at least
        ((1.0, 2.0, 100_000.0), 500.0, (100, 200, 300)),
        (None, math.inf, (100, 200)),
    ],
)
def test_rungs_of_other_units_are_whole_steps_and_as_many_for_every_shape(
    rungs: tuple[float, ...] | None, per_token: float, tokens: tuple[int, ...]
) -> None:
    budget = BudgetConfig(amount=100_000.0, unit="flops", rungs=rungs)
    assert budget.resolve(100, per_token) == tokens


@pytest.mark.parametrize(
    "section",
    [{"flops": 2e12}, {"seconds": 20}, {"seconds": 20, "rungs": [5, 12.5, 20], "eta": 2}],
)
def test_budgets_of_other_units_round_trip_and_are_part_of_the_identity(
    section: dict[str, Any],
) -> None:
    config = config_of(per_candidate=section)
    plain = json.loads(json.dumps(config.to_plain()))
    assert plain["per_candidate"] == {"rungs": "auto", "eta": 3.0, **section}
    assert config_from_plain(plain, where="again", name="s") == config
    assert BudgetConfig.from_plain(plain["per_candidate"]) == config.budget
    diff = "; ".join(identity_diff(config.identity(), config_of().identity()))
    unit = config.budget.unit
    assert f"per_candidate.{unit}: {config.budget.amount} in the study, nothing asked for" in diff


def test_a_recipe_takes_the_rate_that_was_left_open() -> None:
    recipe = config_of().recipe.resolve(0.01, tokens=100_000)
    assert (recipe.rate, recipe.warmup_tokens) == (0.01, 2_000)
    given = {"rate": 0.002, "dropout": 0.2, "warmup_tokens": 7}
    recipe = config_of(recipe=given).recipe.resolve(0.01, tokens=100_000)
    assert (recipe.rate, recipe.dropout, recipe.weight_decay) == (0.002, 0.2, 0.1)
    assert recipe.warmup_tokens == 7


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"recipes": {}}, r"s\.yaml: recipes: unknown key; .*did you mean 'recipe'\?"),
    ({"format_version": 2}, r"s\.yaml: format_version: got 2 \(int\), expected an integer 1 to 1"),
    ({"space": "llama_tin"}, r"s\.yaml: space: no search space 'llama_tin'.*'llama_tiny'\?"),
    ({"space": 3}, r"s\.yaml: space: got 3 \(int\), expected a text"),
    (
        {"space": {**SPACE, "family": "lama"}},
        r"s\.yaml: space: family: unknown family 'lama'.*'llama'\?",
    ),
    ({"space": {**SPACE, "dims": 1}}, r"s\.yaml: space: dims: unknown key"),
    (
        {"task": {"name": "language_modelling", "data": "x"}},
        r"task\.name: unknown task .*'language_model",
    ),
    ({"task": {"name": "language_modeling"}}, r"s\.yaml: task\.data: missing"),
    ({"task": {"name": "language_modeling", "data": ""}}, r"task\.data: got '' \(str\)"),
    ({"task": {"name": "language_modeling", "data": "x", "dat": 1}}, r"task\.dat: unknown key"),
    ({"task": "language_modeling"}, r"task: got .*expected a mapping"),
    ({"split": {"train": 0.8, "val": 0.3, "test": 0.1}}, r"s\.yaml: split: .*add up to 1\.2"),
    ({"split": {"train": 1, "val": 0, "test": 0}}, r"s\.yaml: split: val: got 0\.0, expected more"),
    ({"split": {"train": 0.9, "val": 0.1}}, r"split\.test: missing"),
    ({"split": {"train": "0.9", "val": 0.1, "test": 0}}, r"split\.train: got '0\.9' \(str\)"),
    ({"recipe": {"rate": "1e-7"}}, r"recipe\.rate: got '1e-7' \(str\).*; write 1\.0e-0?7"),
    ({"recipe": {"rate": 0}}, r"recipe\.rate: got 0 \(int\), expected a number"),
    ({"recipe": {"rate": False}}, r"recipe\.rate: got false \(bool\)"),
    ({"recipe": {"precision": "fp16"}}, r"recipe\.precision: got 'fp16', expected one of auto"),
    ({"recipe": {"context": 1}}, r"recipe\.context: got 1 \(int\), expected an integer >= 2"),
    ({"recipe": {"batch": 8.0}}, r"recipe\.batch: got 8\.0 \(float\).*write 8"),
    ({"recipe": {"dropout": 1.5}}, r"recipe\.dropout: got 1\.5 \(float\), expected a number 0 to"),
    (
        {"recipe": {"augment": "flip"}},
        r"recipe\.augment: got flip, of which task 'language_modeling' makes no use; leave it out",
    ),
    ({"recipe": {"token_dropout": 0.1}}, r"recipe\.token_dropout: got 0\.1, of which task"),
    ({"recipe": {"warmup": 5}}, r"recipe\.warmup: unknown key.*'warmup_tokens'\?"),
    ({"objectives": []}, r"objectives: got an empty list, expected some of val_loss"),
    ({"objectives": "val_loss"}, r"objectives: got .*expected a list; write \[val_loss\]"),
    ({"objectives": ["val_los"]}, r"objectives\[0\]: got 'val_los'.*'val_loss'\?"),
    ({"objectives": ["val_loss", "param"]}, r"objectives\[1\]: got 'param'.*'params'\?"),
    ({"objectives": ["val_loss", "val_loss"]}, r"objectives\[1\]: 'val_loss' given twice"),
    ({"objectives": ["latency"]}, r"objectives\[0\]: got 'latency'.* did you mean 'latency_ms'"),
    ({"latency": {**LATENCY, "max_ms": 0}}, r"latency\.max_ms: got 0 \(int\), expected a number"),
    ({"latency": {"phse": "decode"}}, r"latency\.phse: unknown key.* did you mean 'phase'"),
    ({"per_candidate": {"tokens": 100}}, r"per_candidate\.tokens: got 100, less than one step"),
    (
        {"per_candidate": {"rungs": [100, 200]}},
        r"rungs: got \[100, 200\], expected ascending .*4000",
    ),
    (
        {"per_candidate": {"tokens": 400000, "flops": 2e12}},
        r"per_candidate\.flops: not together with tokens; a budget is in one of them",
    ),
    ({"per_candidate": {"flops": 2e12, "seconds": 2}}, r"seconds: not together with flops"),
    ({"per_candidate": {"tokens": 768, "examples": 12}}, r"examples: not together with tokens"),
    ({"per_candidate": {"flops": "2e12"}}, r"flops: got '2e12' \(str\), expected a number >= 1"),
    ({"per_candidate": {"seconds": 0}}, r"seconds: got 0 \(int\), expected a number >= 0\.001"),
    ({"per_candidate": {"minutes": 1}}, r"per_candidate\.minutes: unknown key"),
    (
        {"per_candidate": {"seconds": 20, "rungs": [5, 10]}},
        r"rungs: got \[5\.0, 10\.0\], expected ascending seconds that end at 20",
    ),
    ({"per_candidate": {"flops": 10, "rungs": 3}}, r"rungs: got 3 .*auto or a list of flops"),
    ({"per_candidate": {"rungs": [400000, 400000]}}, r"rungs: got .*expected ascending"),
    ({"per_candidate": {"rungs": []}}, r"rungs: got \[\], expected ascending"),
    ({"per_candidate": {"rungs": "four"}}, r"rungs: got 'four' \(str\), expected auto or a list"),
    ({"per_candidate": {"rungs": [800, 801, 400000]}}, r"less than one step of 768 tokens apart"),
    ({"finalists": {"seeds": 0}}, r"finalists\.seeds: got 0 \(int\), expected an integer >= 1"),
    ({"stop": {"minutes": 0}}, r"stop\.minutes: got 0 \(int\), expected a number >= 0\.001"),
    ({"stop": {"candidates": "10"}}, r"stop\.candidates: got '10' \(str\).*write 10"),
    ({"latency": {**LATENCY, "phase": "both"}}, r"latency\.phase: got 'both', expected one of pre"),
    ({"latency": {**LATENCY, "device": "auto"}}, r"latency\.device: got 'auto'; name the device"),
    ({"latency": {**LATENCY, "context": 65}}, r"latency\.context: got 65 \(int\).* 1 to 64"),
    ({"device": "gpu"}, r"s\.yaml: device: unknown device 'gpu'; choose auto, cpu, cuda"),
    ({"strategy": False}, r"strategy: got false \(bool\).*quote the word"),
    ({"workers": 0}, r"s\.yaml: workers: got 0 \(int\), expected an integer >= 1"),
    ({"keep": 0}, r"keep: got 0"),
    ({"seed": -1}, r"seed: got -1 \(int\), expected an integer 0 to 4294967295"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_value_is_refused_where_it_stands(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**changes)


@pytest.mark.parametrize("key", ["format_version", "space", "task"])
def test_a_missing_part_is_refused(key: str) -> None:
    plain = {k: v for k, v in PLAIN.items() if k != key}
    with pytest.raises(ConfigError, match=rf"s\.yaml: {key}: missing, expected"):
        config_from_plain(plain, where="s.yaml", name="s")


def test_a_searched_rate_comes_back_and_is_part_of_the_identity() -> None:
    config = config_of(recipe={"rate": "search"})
    assert (config.recipe.rate, config.recipe.search_rate) == (None, True)
    assert config.to_plain()["recipe"]["rate"] == "search"
    again = config_from_plain(config.to_plain(), where="again", name=config.name)
    assert again == config
    assert identity_diff(config_of().identity(), config.identity()) == [
        "recipe.rate: auto in the study, search asked for"
    ]


def test_strategy_and_executor_are_checked_against_what_there_is() -> None:
    there = {"strategies": ["auto", "random", "tpe"], "executors": ["inline", "processes"]}
    for name in ("auto", "tpe"):
        plain = {**PLAIN, "strategy": name}
        assert config_from_plain(plain, where="s", name="s", **there).strategy == name
    with pytest.raises(ConfigError, match=r"strategy: got 'tpee', expected one of auto, random"):
        config_from_plain({**PLAIN, "strategy": "tpee"}, where="s", name="s", **there)
    with pytest.raises(ConfigError, match=r"executor: got 'process'.*did you mean 'processes'"):
        config_from_plain({**PLAIN, "executor": "process"}, where="s", name="s", **there)
    cluster = {**PLAIN, "executor": "ray://10.0.0.1:10001"}
    assert config_from_plain(cluster, where="s", name="s", **there).executor == cluster["executor"]


def test_traps_of_yaml_are_refused_in_a_study_file(tmp_path: Path) -> None:
    text = (STUDIES / "quickstart.yaml").read_text()
    for name, changed, message in (
        ("twice", text + "\nseed: 1\n", r"twice\.yaml: line \d+: key 'seed' given twice"),
        ("rate", text.replace("rate: auto", "rate: 1e-7"), r"rate\.yaml: recipe\.rate: got '1e-7'"),
        ("no", text.replace("strategy: auto", "strategy: no"), r"no\.yaml: strategy: got false"),
        ("tab", text + "\n\tx: 1\n", r"tab\.yaml: line \d+: "),
    ):
        (tmp_path / f"{name}.yaml").write_text(changed)
        with pytest.raises(ConfigError, match=message):
            load_config(tmp_path / f"{name}.yaml")


@pytest.mark.parametrize("name", ["a", "my-study_2.1", "A" * 100, "_x", "0"])
def test_a_good_study_name_is_taken(name: str) -> None:
    assert check_study_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "-x", "a/b", "../x", "a b", "a\n", "é", "A" * 101, "a\\b", "a\0"]
)
def test_a_study_name_that_could_be_a_path_or_option_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"study name .*: expected at most 100 letters"):
        check_study_name(name)
    with pytest.raises(InputError, match=r"study name"):
        config_from_plain(PLAIN, where="s.yaml", name=name)
