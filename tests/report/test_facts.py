"""What the report says is what the study holds, whatever state it is in."""

import json

import pytest

from nas.report import gather
from nas.report.analysis import power_law
from nas.report.candidates import thinned
from nas.report.facts import without_secrets


def value(facts, at):
    return facts["candidates"][at]["value"]


def test_every_candidate_is_told_once_best_first(study):
    facts = gather(study)
    rows = study.trials()
    assert [one["id"] for one in facts["candidates"]] == [row.candidate_id for row in rows]
    for one, row in zip(facts["candidates"], rows, strict=True):
        assert one["metrics"] == pytest.approx(row.metrics)
        assert one["params"] == row.params
    assert facts["study"]["tried"] == 9
    json.dumps(facts, allow_nan=False)


def test_winner_is_compared_over_seeds(study):
    result = gather(study)["result"]
    assert result["verdict"] == "better"
    found = {one["metric"]: one for one in result["comparisons"]}
    assert found["test_loss"]["difference"] == pytest.approx(-0.5)
    assert found["test_loss"]["interval"][0] < -0.5 < found["test_loss"]["interval"][1] < 0
    assert not found["test_loss"]["tie"]
    assert "test_loss 2.5200 ± 0.0100 against the reference's 3.0200 ± 0.0100" in str(result)
    assert [one["is_winner"] for one in result["finalists"]] == [True, False]


def test_equal_means_have_one_winner_everywhere(made):
    """The one that was proposed first, whoever was trained first; and its weights are loaded."""

    def fill(maker):
        first, second = maker.complete(0, 2.5), maker.complete(1, 2.0, n_layer=4)
        for one, shape in ((1, {"n_layer": 4}), (0, {})):
            role = "finalist" if one else "reference"
            for seed in (1, 2):
                maker.complete(one, 2.25, role, seed, test=2.25, **shape)
        maker.finish(first, second)

    study = made(fill)
    facts = gather(study)
    winner = facts["candidates"][facts["result"]["winner"]]
    assert winner["number"] == 0
    assert winner["architecture"] == study.finalists()[0].architecture_id
    assert winner["architecture"] == study.summary()["winner"]


def test_a_stored_winner_wins_among_equals(made):
    def fill(maker):
        first, second = maker.complete(0, 2.5), maker.complete(1, 2.0, n_layer=4)
        for seed in (1, 2):
            maker.complete(0, 2.25, "reference", seed, test=2.25)
            maker.complete(1, 2.25, "finalist", seed, test=2.25, n_layer=4)
        maker.finish(second, first)

    facts = gather(made(fill))
    assert facts["candidates"][facts["result"]["winner"]]["number"] == 1


def test_the_folder_named_is_the_one_that_is_loaded(made):
    def fill(maker):
        reference = maker.complete(0, 3.0)
        searched = maker.complete(1, 2.4, n_layer=4)
        seeds = [
            maker.complete(1, loss, "finalist", seed, test=loss, n_layer=4)
            for seed, loss in ((1, 2.5), (2, 2.3))
        ]
        maker.complete(0, 3.0, "reference", 1, test=3.0)
        for one in (searched, *seeds):
            path = f"models/{one.id}"
            maker.store.record_model(maker.study, one.id, path=path, size_bytes=1, sha256="0f")
        maker.finish(seeds[0], reference)

    study = made(fill)
    best = study.best()
    assert best.seed == 2
    assert gather(study)["result"]["use"]["folder"] == f"made/{best.model_path}"


def test_one_seed_is_a_tie(made):
    def fill(maker):
        reference = maker.complete(0, 3.0)
        maker.complete(1, 2.0, n_layer=4)
        maker.complete(0, 3.0, "reference", 1, test=3.0)
        maker.finish(maker.complete(1, 2.0, "finalist", 1, test=2.0, n_layer=4), reference)

    result = gather(made(fill))["result"]
    assert result["verdict"] == "tie"
    assert "a tie: one seed says nothing of the spread" in result["sentences"][0]


@pytest.mark.parametrize(
    ("fill", "verdict", "words"),
    [
        (lambda maker: None, "none", "Nothing was trained yet"),
        (lambda maker: maker.begin(0), "none", "No candidate is complete yet"),
        (lambda maker: maker.fail(0), "none", "No candidate is complete: 1 candidate, none"),
        (lambda maker: maker.complete(0, 2.5), "leading", "Best so far: 2L d16 h2 ff32"),
        (lambda maker: maker.finish(maker.complete(0, 2.5)), "alone", "Winner: 2L d16"),
    ],
)
def test_studies_with_little_in_them_say_so(made, fill, verdict, words):
    result = gather(made(fill))["result"]
    assert result["verdict"] == verdict
    assert result["headline"].startswith(words)


def test_rungs_are_ranked_as_the_search_ranks_them(study):
    [rung] = gather(study)["fidelity"]
    assert (rung["tau"], rung["count"], rung["tokens"]) == (1.0, 8, 1024)
    assert [early - late for _, early, late in rung["points"]] == pytest.approx([0.5] * 8)


@pytest.mark.slow  # Optuna's importances import scikit-learn, where it is installed
def test_importance_is_shared_among_the_dimensions(made, searched):
    study = made(lambda maker: searched(maker, 12))
    found = gather(study)["importance"]
    assert [one["name"] for one in found["axes"]] == ["n_layer", "d_model", "d_ff"]
    assert sum(share for _, share in found["shares"]) == pytest.approx(1.0, abs=1e-3)
    assert found["top"] == 5
    assert gather(study)["importance"] == found  # nothing is drawn by chance


def test_importance_of_too_few_says_so(made):
    def fill(maker):
        for number in range(3):
            maker.complete(number, 2.0 + number, d_ff=(16, 32 + 16 * number))

    found = gather(made(fill))["importance"]
    assert not found["shares"]
    assert found["reason"].startswith("3 complete candidates; importance takes 10")
    assert [one["name"] for one in found["axes"]] == ["mean d_ff", "d_ff last/first"]


def test_a_metric_that_is_better_when_larger_is_followed_upwards(made):
    def fill(maker):
        for number, accuracy in enumerate((0.5, 0.8, 0.7)):
            maker.complete(number, 1.0, more={"accuracy": accuracy}, n_layer=number + 1)

    facts = gather(made(fill, objectives=("val_accuracy",)))
    assert [value(facts, at) for at in range(3)] == [0.8, 0.7, 0.5]
    assert facts["study"]["objectives"] == [{"name": "val_accuracy", "direction": "maximize"}]
    assert [value(facts, at) for at in facts["pareto"]["front"]] == [0.8, 0.5]


def test_several_objectives_have_a_front_with_a_volume(made):
    def fill(maker):
        for number in range(3):
            more = {"accuracy": 0.5 + number / 10}
            maker.complete(number, 2.0 + number / 10, more=more, n_layer=number + 1)

    found = gather(made(fill, objectives=("val_loss", "val_accuracy")))["pareto"]
    assert len(found["front"]) == 3
    assert found["volume"].startswith("hypervolume ")


def test_failures_of_one_cause_are_one(made):
    def fill(maker):
        for number in range(3):
            maker.fail(number, error=f"ValueError: {number} of 4", n_layer=number + 1)
        maker.fail(3, error="KeyError: 'x'", n_layer=4)

    first, second = gather(made(fill))["failures"]
    assert len(first["candidates"]) == 3
    assert first["traceback"] == "Traceback"
    assert second["error"] == "KeyError: 'x'"


def test_time_is_told_by_what_it_went_for(study):
    found = gather(study)["cost"]
    assert found["workers"] == 1
    assert found["spent"]["search"] == {
        "training": 24.0, "validating": 8.0, "building": 4.5, "timing passes": 0.0, "saving": 4.0,
    }  # fmt: skip
    assert found["spent"]["finals"]["training"] == 18.0
    assert found["waiting"] == pytest.approx(100.0 - 70.5)
    assert found["per_hour"] == pytest.approx(9 * 36)


def test_a_law_of_powers_is_found():
    sizes = [10.0**n for n in range(3, 9)]
    law = power_law(sizes, [5 * size**-0.1 for size in sizes])
    assert (law["exponent"], law["coefficient"], law["r2"]) == pytest.approx((-0.1, 5, 1))
    assert "4 complete candidates" in power_law(sizes[:4], [1.0] * 4)["reason"]
    assert "one size" in power_law([100.0] * 6, [1.0] * 6)["reason"]


def test_thin_curves_keep_their_ends():
    points = [(n, float(n)) for n in range(1000)]
    assert thinned(points, 8)[0] == points[0]
    assert thinned(points, 8)[-1] == points[-1]
    assert len(thinned(points, 8)) == 8
    assert thinned(points[:5], 8) == points[:5]


def test_no_password_is_told(made):
    url = "postgresql+psycopg://me:p@ss/w@host:5432/nas?sslpassword=0ther"
    study = made(lambda maker: maker.fail(0, error=f"lost {url}", traceback=f"E  {url} gone"))
    text = json.dumps(gather(study))
    assert "me:***@host:5432" in text
    assert not any(secret in text for secret in ("p@ss", "ss/w", "0ther"))
    assert without_secrets(["http://host/a@b"]) == ["http://host/a@b"]
