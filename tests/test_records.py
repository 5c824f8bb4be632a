"""The records that cross borders: their ids, and the way to JSON and back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.families import architecture
from nas.records import (
    STATES,
    Architecture,
    Candidate,
    CheckpointRef,
    Evaluation,
    Job,
    Numerics,
    Outcome,
    Progress,
    Recipe,
    TaskSpec,
    canonical_json,
    from_plain,
    to_plain,
)

LLAMA = Architecture(family="llama", shape={"n_layer": 4, "d_model": 128, "n_head": 4, "d_ff": 352})
RECIPE = Recipe(context=64, batch=12, rate=0.008)
CANDIDATE = Candidate(architecture=LLAMA, recipe=RECIPE, seed=0, data_fingerprint="445d879e1b33")

names = st.text(max_size=8)
counts = st.integers(0, 2**53)
seconds = st.floats(0, 1e9)
values = st.floats(allow_nan=False, allow_infinity=False)
shapes = st.dictionaries(
    names,
    st.booleans() | st.integers() | values | names | st.lists(st.integers()).map(tuple),
    max_size=5,
)
architectures = st.builds(Architecture, family=names, shape=shapes)
recipes = st.builds(
    Recipe, context=counts, batch=counts, rate=values, dropout=values, warmup_tokens=counts
)
specs = st.builds(
    TaskSpec, task=names, head=names, vocab_size=counts, context=counts,
    labels=st.lists(names, max_size=3).map(tuple), bos_token_id=st.none() | counts,
)  # fmt: skip
candidates = st.builds(
    Candidate, architecture=architectures, recipe=recipes, seed=counts, data_fingerprint=names
)
checkpoints = st.builds(CheckpointRef, uri=names, sha256=names, bytes=counts, tokens=counts)
curves = st.lists(st.tuples(counts, values), max_size=3).map(tuple)
evaluations = st.builds(
    Evaluation, rung=counts, tokens=counts, seconds=seconds, curve=curves,
    metrics=st.dictionaries(names, st.dictionaries(names, values, max_size=2), max_size=2),
)  # fmt: skip
numerics = st.builds(Numerics, device=names, precision=names, attention=names, threads=counts)
jobs = st.builds(
    Job, study=names, candidate=candidates, task_spec=specs, data=names, rung=counts,
    rungs=st.lists(counts, max_size=3).map(tuple), numerics=numerics, eval_tokens=counts,
    splits=st.lists(names, max_size=2).map(tuple), checkpoint=st.none() | checkpoints,
    model_dir=st.none() | names, keep_better_than=st.none() | values,
)  # fmt: skip
progresses = st.builds(
    Progress, candidate_id=names, tokens=counts, train_loss=st.none() | values, seconds=seconds,
    checkpoint=st.none() | checkpoints,
)  # fmt: skip
outcomes = st.builds(
    Outcome, candidate_id=names, state=st.sampled_from(STATES), tokens=counts,
    evaluations=st.lists(evaluations, max_size=2).map(tuple),
    checkpoint=st.none() | checkpoints, model_saved=st.booleans(), error=names,
    timings=st.dictionaries(names, seconds, max_size=2),
)  # fmt: skip


def candidate_plain(**changes):
    return json.loads(canonical_json(to_plain(CANDIDATE))) | changes


@settings(max_examples=40)
@given(jobs | outcomes | progresses)
def test_record_survives_json_and_back(record):
    text = canonical_json(to_plain(record))
    assert from_plain(type(record), json.loads(text)) == record


# Frozen: stored studies, checkpoints and model folders are found by these. A later field must keep
# them, which it does if it has a default.
def test_ids_are_those_of_stored_studies():
    assert LLAMA.id == "cd673542ba92"
    assert CANDIDATE.id == "57a602753ba7"
    per_layer = architecture("llama", n_layer=2, d_model=64, n_head=4, d_ff=[96, 192])
    assert per_layer.id == "0d28ca1cc224"


def test_id_does_not_hang_on_how_the_shape_was_written():
    backwards = Architecture(family="llama", shape=dict(reversed(LLAMA.shape.items())))
    assert backwards.id == LLAMA.id
    lists, tuples = (Architecture(family="x", shape={"d": d}) for d in ([1, 2], (1, 2)))
    assert lists == tuples
    assert lists.id == tuples.id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data_fingerprint": "other"},
        {"recipe": to_plain(RECIPE) | {"rate": 0.009}},
        {"architecture": {"family": "llama", "shape": dict(LLAMA.shape) | {"n_head": 2}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_candidate_id_changes_with_each_of_its_four_parts(change):
    assert from_plain(Candidate, candidate_plain(**change)).id != CANDIDATE.id


def test_shape_of_a_record_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        LLAMA.shape["n_layer"] = 5


def test_fields_at_their_default_are_left_out():
    assert to_plain(RECIPE) == {"context": 64, "batch": 12, "rate": 0.008}


def test_whole_number_is_taken_for_a_fraction():
    recipe = from_plain(Recipe, {"context": 64, "batch": 12, "rate": 1})
    assert type(recipe.rate) is float


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (candidate_plain(sed=0), r"Candidate: unknown field 'sed'"),
        (candidate_plain(seed="0"), r"Candidate\.seed: expected int, got str"),
        (candidate_plain(seed=True), r"Candidate\.seed: expected int, got bool"),
        (candidate_plain(recipe=[]), r"Candidate\.recipe: expected a mapping, got list"),
        (
            candidate_plain(recipe={"context": 64, "batch": 12}),
            r"Candidate\.recipe: missing field 'rate'",
        ),
        (
            candidate_plain(recipe={"context": 64, "batch": 12, "rate": "fast"}),
            r"Candidate\.recipe\.rate: expected float, got str",
        ),
        (
            candidate_plain(architecture={"family": "llama", "shape": {"d_ff": [1, "2"]}}),
            r"Candidate\.architecture\.shape\.d_ff\[1\]: expected int, got str",
        ),
        (
            candidate_plain(architecture={"family": "llama", "shape": {"d_ff": None}}),
            r"shape\.d_ff: expected a number, text or list, got NoneType",
        ),
        ([], r"Candidate: expected a mapping, got list"),
    ],
)
def test_from_plain_refuses_and_names_the_path(plain, message):
    with pytest.raises(TypeError, match=message):
        from_plain(Candidate, plain)


@pytest.mark.parametrize(
    ("curve", "message"),
    [([[1, 2.0, 3.0]], r"curve\[0\]: expected 2 values, got 3"), (7, r"curve: expected a list")],
)
def test_from_plain_refuses_a_curve_that_is_none(curve, message):
    plain = {"rung": 0, "tokens": 1, "seconds": 1.0, "metrics": {}, "curve": curve}
    with pytest.raises(TypeError, match=message):
        from_plain(Evaluation, plain)


def test_canonical_json_refuses_what_is_no_number():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"loss": float("nan")})
