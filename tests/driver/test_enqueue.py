"""Shapes of the user's own: tried next, on top of the limit, once."""

import pytest
from interrupting import at_first_progress

import nas
from nas.driver.events import CandidateStarted, Note
from nas.driver.search import SearchInterrupted
from nas.errors import InputError
from nas.families import architecture

OWN = {"n_layer": 2, "d_model": 32, "n_head": 1, "d_ff": 48}
OTHER = {"n_layer": 1, "d_model": 32, "n_head": 1, "d_ff": 48}
FEW = {"finalists": {"top": 1, "seeds": 1}, "stop": {"candidates": 1}}


def tried(study):
    rows = sorted(study.trials(role="search"), key=lambda row: row.number)
    return [dict(row.shape) for row in rows]


def test_a_finished_study_goes_on_with_what_is_enqueued_on_top_of_its_limit(configure):
    study = nas.search(configure(**FEW))
    study.enqueue(OWN)
    nas.open_study("tiny").enqueue(architecture("llama", **OTHER))  # it survives in the database
    study = nas.search(configure(**FEW))
    assert tried(study)[1:] == [OWN, OTHER]
    assert nas.search(configure(**FEW)).summary() == study.summary()
    assert len(tried(nas.search(configure(**FEW | {"stop": {"candidates": 2}})))) == 4


def test_it_comes_before_the_strategys_proposals_of_a_search_at_work(configure):
    def enqueue(event):
        if isinstance(event, CandidateStarted) and event.number == 1:
            nas.open_study("tiny").enqueue(OWN)

    study = nas.search(configure(finalists={"top": 0}), listener=enqueue)
    assert len(tried(study)) == 5
    assert tried(study).index(OWN) in (2, 3)


@pytest.mark.slow
def test_interrupted_and_resumed_tries_it_once(configure):
    config = configure(finalists={"top": 0}, per_candidate={"tokens": 60_000})
    study = nas.search(configure(finalists={"top": 0}, per_candidate={"tokens": 60_000}, **STOP))
    study.enqueue(OWN)

    with pytest.raises(SearchInterrupted):
        nas.search(config, listener=at_first_progress())
    assert tried(nas.open_study("tiny"))[1:] == [OWN]
    assert tried(nas.search(config)).count(OWN) == 1
    assert len(tried(nas.search(config))) == 5


STOP = {"stop": {"candidates": 1}}


def test_minutes_that_are_over_are_told(configure):
    stop = {"candidates": 1, "minutes": 5}
    study = nas.search(configure(finalists={"top": 0}, stop=stop))
    study.enqueue(OWN)
    notes = []
    over = configure(finalists={"top": 0}, stop={"candidates": 1, "minutes": 0.001})
    nas.search(over, listener=lambda e: notes.append(e.text) if isinstance(e, Note) else None)
    assert notes == ["0.001 min are over: enqueued and not tried: 1; raise --minutes"]
    assert tried(nas.search(configure(finalists={"top": 0}, stop=stop)))[1:] == [OWN]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"n_layer": 9}, "d_model, n_head, d_ff missing: give all fields"),
        (OWN | {"n_layer": 3}, "the shape cannot be tried: n_layer: 3 is not one of 1, 2"),
        (OWN | {"d_model": "wide"}, "d_model: got 'wide', expected an integer"),
        (OWN | {"width": 3}, "has no field 'width'"),
        (architecture("gpt2", **OWN), "family: got 'gpt2', the space is 'llama'"),
        (
            {"n_layer": 1, "d_model": 24, "n_head": 2, "d_ff": 32},
            r"study 'tiny': the shape is candidate #0 already; see: nas show tiny \w{12}",
        ),
        (OTHER, "study 'tiny': the shape is enqueued already"),
    ],
    ids=["missing", "outside", "text", "unknown", "family", "tried", "enqueued"],
)
def test_what_cannot_be_tried_is_refused_in_one_line(configure, shape, message):
    study = nas.search(configure(finalists={"top": 0}, **STOP))
    study.enqueue(OTHER)
    with pytest.raises(InputError, match=message) as error:
        study.enqueue(shape)
    assert "\n" not in str(error.value)


def test_a_constraint_rules_a_shape_out(configure):
    config = configure(finalists={"top": 0}, **STOP)
    space = config.space.to_plain() | {"constraints": {"max_params": 20_000}}
    study = nas.search(configure(space=space, finalists={"top": 0}, **STOP))
    with pytest.raises(InputError, match=r"params is .* above max_params 20,000"):
        study.enqueue(OWN)
