"""The JSON Schemas say what the parsers do: of shipped files, of right ones, of wrong ones."""

import copy
import re

import config_cases
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from nas.config import config_from_plain
from nas.errors import ConfigError, UntrustedError
from nas.executors import EXECUTORS
from nas.families import FAMILIES
from nas.schemas import KINDS, editor_line, schema, schema_file, schema_text
from nas.shipped import shipped_folder, shipped_names
from nas.space import SearchSpace
from nas.strategies import STRATEGIES
from nas.tasks import TASKS, task_class
from nas.yaml_strict import load_yaml

FOLDERS = {"space": "search_spaces", "study": "studies"}
FILES = [(kind, name) for kind, folder in FOLDERS.items() for name in shipped_names(folder)]
VALIDATORS = {kind: Draft7Validator(schema(kind)) for kind in KINDS}

SPACE = {
    **config_cases.SPACE,
    "dimensions": {**config_cases.SPACE["dimensions"], "tied": {"choices": [False, True]}},
    "reference": {"n_layer": 1, "d_model": 16, "n_head": 2, "d_ff": [32], "tied": True},
}
STUDY = {
    "format_version": 1,
    "space": SPACE,
    "task": {"name": "language_modeling", "data": "builtin:python-docs", "tokenizer": "bytes"},
    "split": {"train": 0.8, "val": 0.1, "test": 0.1},
    "recipe": {"context": 32, "batch": 8, "rate": "auto", "dropout": 0.1, "early_stop": 6},
    "objectives": ["val_loss", "latency_ms"],
    "per_candidate": {"tokens": 4096, "rungs": "auto", "eta": 3},
    "finalists": {"top": 1, "seeds": 2},
    "stop": {"candidates": 10, "minutes": None},
    "latency": {"phase": "decode", "batch": 1, "context": 32, "device": "cpu", "max_ms": 5},
    "strategy": "auto",
    "executor": "processes",
    "workers": 2,
    "device": "auto",
    "keep": 5,
    "seed": 0,
}
BASES = {"space": SPACE, "study": STUDY}


def parser_takes(kind, plain):
    try:
        if kind == "space":
            SearchSpace.from_plain(plain, where="s")
        else:
            there = {"strategies": STRATEGIES, "executors": EXECUTORS}
            config_from_plain(plain, where="s", name="s", **there)
    except (ConfigError, UntrustedError):
        return False
    return True


def schema_takes(kind, plain):
    return VALIDATORS[kind].is_valid(plain)


def changed(kind, path, value):
    """Return a right file with one value changed, or taken out where the value is `...`."""
    plain = copy.deepcopy(BASES[kind])
    *parents, last = path.split(".")
    inner = plain
    for parent in parents:
        inner = inner[parent]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return plain


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_schema_is_the_one_that_the_parsers_make(kind):
    assert schema_file(kind).read_text(encoding="utf-8") == schema_text(kind)
    Draft7Validator.check_schema(schema(kind))


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_shipped_file_is_valid_and_names_a_schema_that_is_there(kind, name):
    file = shipped_folder(FOLDERS[kind]) / f"{name}.yaml"
    assert [error.message for error in VALIDATORS[kind].iter_errors(load_yaml(file))] == []
    first = file.read_text(encoding="utf-8").splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(.*)", first)[1]
    assert (file.parent / named).resolve() == schema_file(kind).resolve()


def test_line_for_editors_names_the_installed_schema():
    assert editor_line("study").endswith("/nas/schemas/study.schema.json")
    assert "$schema=file:///" in editor_line("study")


@pytest.mark.parametrize("kind", KINDS)
def test_right_files_are_taken_by_both(kind):
    assert schema_takes(kind, BASES[kind])
    assert parser_takes(kind, BASES[kind])


RIGHT = [
    ("study", "space", "llama_tiny"),
    ("study", "latency", None),
    ("study", "workers", None),
    ("study", "recipe.rate", "search"),
    ("study", "recipe.rate", 0.01),
    ("study", "recipe.warmup_tokens", 0),
    ("study", "recipe.token_dropout", 0.0),
    ("study", "per_candidate", {"flops": 2.0e12}),
    ("study", "per_candidate", {"examples": 128, "max_minutes": 3}),
    ("study", "per_candidate.rungs", [1024, 4096]),
    ("study", "executor", "ray://head:10001"),
    ("study", "device", "cuda:1"),
    ("study", "task.data", {"train": "a.txt", "val": "b.txt"}),
    ("study", "database", "postgresql://me@host/nas"),
    ("study", "warm_start", "an/earlier/study"),
    ("study", "logger", "mlflow"),
    ("study", "logger", ["mlflow", "tensorboard"]),
    ("space", "dimensions.d_ff.per_layer", "free"),
    ("space", "reference", ...),
    ("space", "description", "words"),
    ("space", "draw_order", ["tied", "n_layer", "d_model", "n_head", "d_ff"]),
]
WRONG = [
    ("study", "recipes", {}),
    ("study", "format_version", 2),
    ("study", "space", 3),
    ("study", "space", ...),
    ("study", "space.family", "lama"),
    ("study", "space.dims", {}),
    ("study", "task.name", "language_modelling"),
    ("study", "task.data", ...),
    ("study", "task.data", ""),
    ("study", "task.data", {"val": "b.txt"}),
    ("study", "task.dat", 1),
    ("study", "task.vocab_size", 10),
    ("study", "task.long_inputs", "chunk"),
    ("study", "task", "language_modeling"),
    ("study", "split.val", 0),
    ("study", "split.test", ...),
    ("study", "split.train", "0.8"),
    ("study", "recipe.rate", "1e-7"),
    ("study", "recipe.rate", 0),
    ("study", "recipe.rate", False),
    ("study", "recipe.precision", "fp16"),
    ("study", "recipe.context", 1),
    ("study", "recipe.dropout", 1.5),
    ("study", "recipe.augment", "flip"),
    ("study", "recipe.token_dropout", 0.1),
    ("study", "recipe.early_stop", -1),
    ("study", "objectives", []),
    ("study", "objectives", "val_loss"),
    ("study", "objectives", ["val_los"]),
    ("study", "objectives", ["val_bleu"]),
    ("study", "objectives", ["params", "params"]),
    ("study", "per_candidate.flops", 1e9),
    ("study", "per_candidate.rungs", "four"),
    ("study", "per_candidate.rungs", []),
    ("study", "per_candidate.eta", 0.5),
    ("study", "per_candidate.tokens", 0),
    ("study", "finalists.seeds", 0),
    ("study", "stop.minutes", 0),
    ("study", "stop.candidates", "10"),
    ("study", "latency.phase", "both"),
    ("study", "latency.device", "auto"),
    ("study", "latency.max_ms", 0),
    ("study", "strategy", False),
    ("study", "strategy", "tpee"),
    ("study", "executor", "process"),
    ("study", "executor", "ray://"),
    ("study", "workers", 0),
    ("study", "device", "gpu"),
    ("study", "keep", 0),
    ("study", "seed", -1),
    ("study", "warm_start", "sqlite:///x.db"),
    ("study", "logger", "mlflows"),
    ("study", "logger", ["mlflow", "mlflow"]),
    ("study", "logger", [3]),
    ("study", "logger", ""),
    ("study", "logger", 0),
    ("study", "logger", False),
    ("study", "database", "sqlite:///x.db"),
    ("space", "family", "lama"),
    ("space", "family", ...),
    ("space", "dimensions", ...),
    ("space", "dimensions.n_layer", ...),
    ("space", "dimensions.n_layers", {"min": 1, "max": 2}),
    ("space", "dimensions.n_layer", {"min": 1}),
    ("space", "dimensions.n_layer", {"min": 0, "max": 2}),
    ("space", "dimensions.n_layer.max", 1_000_000),
    ("space", "dimensions.n_layer.choices", [1, 2]),
    ("space", "dimensions.n_layer.per_layer", True),
    ("space", "dimensions.d_ff.per_layer", "each"),
    ("space", "dimensions.d_model.choices", []),
    ("space", "dimensions.tied", {"min": 0, "max": 1}),
    ("space", "fixed.head_dim", "8"),
    ("space", "fixed.heads", 8),
    ("space", "constraints.max_param", 5),
    ("space", "constraints.max_params", -1),
    ("space", "reference.n_head", ...),
    ("space", "reference.tied", 1),
    ("space", "draw_order", ["n_layers"]),
    ("space", "description", ""),
]


@pytest.mark.parametrize(("kind", "path", "value"), RIGHT)
def test_another_right_file_is_taken_by_both(kind, path, value):
    plain = changed(kind, path, value)
    assert parser_takes(kind, plain)
    assert [error.message for error in VALIDATORS[kind].iter_errors(plain)] == []


@pytest.mark.parametrize(("kind", "path", "value"), WRONG)
def test_a_wrong_file_is_refused_by_both(kind, path, value):
    plain = changed(kind, path, value)
    assert not parser_takes(kind, plain)
    assert not schema_takes(kind, plain)


def leaves(plain, path=""):
    for key, value in plain.items():
        yield f"{path}{key}"
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70_000),
    st.floats(-2, 3, allow_nan=False).map(lambda number: number + 0.123),
    st.sampled_from(["", "auto", "search", "free", "cpu", "llama", "val_loss", "1e1", "a:B"]),
    st.lists(st.sampled_from([1, 16, 32, "val_loss"]), max_size=3),
    st.sampled_from([{}, {"min": 1, "max": 4}, {"choices": [16, 48]}, {"tokens": 8192}]),
)
PATHS = st.sampled_from([(kind, path) for kind, base in BASES.items() for path in leaves(base)])


@given(place=PATHS, value=VALUES)
def test_what_the_parser_takes_the_schema_takes(place, value):
    kind, path = place
    plain = changed(kind, path, value)
    if parser_takes(kind, plain):
        assert [error.message for error in VALIDATORS[kind].iter_errors(plain)] == []


@pytest.mark.parametrize(
    "path", ["", "split", "recipe", "per_candidate", "finalists", "stop", "latency"]
)
def test_keys_of_a_section_are_those_that_the_parser_asks_for(path):
    plain = copy.deepcopy(STUDY)
    (plain[path] if path else plain)["zz"] = 1
    with pytest.raises(ConfigError) as refused:
        config_from_plain(plain, where="s", name="s")
    asked = set(str(refused.value).partition("known here: ")[2].split(", "))
    found = schema("study")["properties"]
    if path:
        found = found[path]
        found = (found.get("anyOf") or [found])[0]["properties"]
    assert set(found) == asked


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_options_and_objectives(task):
    for name in task_class(task).metrics:
        plain = {**STUDY, "task": {"name": task, "data": "x"}, "objectives": [f"val_{name}"]}
        del plain["recipe"], plain["latency"]
        assert schema_takes("study", plain)
    for key, option in task_class(task).options.items():
        plain["task"] = {"name": task, "data": "x", key: option.default}
        assert schema_takes("study", plain)
        plain["task"] = {"name": task, "data": "x", key: ["no option"]}
        assert not schema_takes("study", plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_refuses_a_field_that_it_has_not(family):
    names = [name for name in shipped_names("search_spaces") if name.startswith(family)]
    plain = load_yaml(shipped_folder("search_spaces") / f"{names[0]}.yaml")
    assert schema_takes("space", plain)
    assert not schema_takes("space", {**plain, "fixed": {"no_field": 1}})


def test_classes_of_ones_own_are_taken():
    study = {**STUDY, "strategy": "mine.search:Greedy", "task": {"name": "mine:Own", "data": "x"}}
    assert schema_takes("study", {**study, "objectives": ["val_own"]})
    own = {"format_version": 1, "family": "mine.shapes:Wide", "dimensions": {"width": {"min": 1}}}
    assert schema_takes("space", own)
