"""`rate: search`: the rate is proposed with the shape."""

import nas
from nas.driver.own import train_own
from nas.space.rated import FACTORS
from nas.training.schedule import auto_rate

SEARCHED = {
    "recipe": {"context": 16, "batch": 8, "rate": "search"},
    "space": {
        "format_version": 1,
        "family": "llama",
        "fixed": {"n_layer": 1, "n_head": 1, "d_ff": 32},
        "dimensions": {"d_model": {"choices": [16, 24]}},
        "reference": {"n_layer": 1, "n_head": 1, "d_ff": 32, "d_model": 16},
    },
    "per_candidate": {"tokens": 1024, "eta": 1},
    "finalists": {"top": 2, "seeds": 2},
}


def order(study):
    rows = sorted(study.trials(role="search"), key=lambda row: row.number)
    return [(row.architecture_id, row.recipe.rate) for row in rows]


def test_shapes_are_tried_at_several_rates_and_finals_take_the_best(configure):
    study = nas.search(configure("whole", stop={"candidates": 7}, **SEARCHED))
    found, base = order(study), auto_rate("causal_lm", context=16, batch=8)
    assert found[0][1] == base  # the reference
    assert len(set(found)) == 7
    assert {rate for _, rate in found} <= {base * factor for factor in FACTORS}
    assert len({rate for _, rate in found}) > 2
    assert len(study.finalists()) == 2
    for group in study.finalists():
        own = [r for r in study.trials(role="search") if r.architecture_id == group.architecture_id]
        assert {row.recipe.rate for row in group.rows} == {own[0].recipe.rate}
        assert len(group.rows) == 2
    nas.search(configure("steps", stop={"candidates": 3}, **SEARCHED))
    steps = nas.search(configure("steps", stop={"candidates": 7}, **SEARCHED))
    assert order(steps) == found
    mirrored = {t.user_attrs["rate"] for t in study.optuna_study().trials}
    assert mirrored == {rate for _, rate in found}
    assert {"d_model_index", "rate_index"} == set(study.optuna_study().trials[0].params)
    rows = train_own(study, {"d_model": 40}).group.rows
    assert {row.recipe.rate for row in rows} == {base}


def test_exhausted_with_every_rate(configure):
    more = SEARCHED | {"finalists": {"top": 0}, "stop": {"candidates": 99}, "strategy": "random"}
    more["per_candidate"] = {"tokens": 256, "eta": 1}
    study = nas.search(configure(**more))
    assert len(order(study)) == len(set(order(study))) == 2 * len(FACTORS)
