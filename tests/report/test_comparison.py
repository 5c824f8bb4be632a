"""Searches side by side: lines, bands, figures, and what is said of those that do not compare."""

import statistics

import pytest
from made_studies import BEGAN, change_metric, make_study

from nas.errors import InputError, NotFoundError
from nas.report.comparison import best_at, compare_studies

pytestmark = pytest.mark.slow  # a dozen studies; `tests/cli/test_compare.py` asks the same in short

FEW = {"candidates": 8, "seeds": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def make(place):
    """Make a small study, each kind once."""
    known = {}

    def made(name, **options):
        if name not in known:
            known[name] = make_study(place / name, name=name, **FEW | options)
        return known[name]

    return made


@pytest.fixture
def seeds(make):
    return [make(f"auto-{seed}", seed=seed) for seed in range(3)]


@pytest.fixture
def random(make):
    return make("random", changes={"strategy": "random"})


def test_line_holds_each_better_value_at_its_time_and_ends_with_the_search(seeds, random):
    found = compare_studies([seeds[0], random])
    (first, _) = (group.runs[0] for group in found.groups)
    done = [row for row in seeds[0].trials(role="search") if row.state == "complete"]
    done.sort(key=lambda row: row.finished_at)
    best = [min(r.metrics["val_loss"] for r in done[: n + 1]) for n in range(len(done))]
    expected = {
        ((row.finished_at - BEGAN).total_seconds(), value)
        for row, value, before in zip(done, best, [None, *best], strict=False)
        if value != before
    }
    assert sorted(expected) == [
        pytest.approx(point) for point in first.best_so_far[: len(expected)]
    ]
    assert first.best_so_far[-1][1] == first.best == best[-1]
    assert found.direction == "minimize"
    last = max(row.finished_at for row in seeds[0].trials(role="search") if row.finished_at)
    assert first.best_so_far[-1][0] == pytest.approx((last - BEGAN).total_seconds())


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("tiny-left", "tiny-light"), "tiny (2 seeds)"), (("one0", "other"), "one0 (2 seeds)")],
)
def test_a_group_is_called_by_whole_words_of_its_names(make, names, expected):
    [group] = compare_studies([make(name, seed=at) for at, name in enumerate(names)]).groups
    assert group.label == expected


def test_searches_that_differ_in_their_seed_only_are_one_group(seeds, random):
    found = compare_studies([seeds[0], random, *seeds[1:]])
    assert [group.label for group in found.groups] == ["auto (3 seeds)", "random"]
    group = found.groups[0]
    assert [run.seed for run in group.runs] == [0, 1, 2]
    for moment, median, low, high in group.band:
        values = [best_at(run.best_so_far, moment) for run in group.runs]
        assert (median, low, high) == (statistics.median(values), min(values), max(values))
    assert group.band[-1][0] == min(run.best_so_far[-1][0] for run in group.runs)
    means = [run.final["test_loss"].mean for run in group.runs]
    assert group.final["test_loss"].mean == pytest.approx(statistics.fmean(means))
    assert (len(group.final["test_loss"].values), group.final["test_loss"].over) == (3, "searches")
    assert found.warnings == ()


def test_final_figures_are_the_winners_over_fresh_seeds_with_an_interval(seeds, random):
    run = compare_studies([seeds[0], random]).groups[0].runs[0]
    winner = seeds[0].summary()["winner"]
    rows = [row for row in seeds[0].trials() if row.role in ("finalist", "reference")]
    values = [r.metrics["test_loss"] for r in rows if r.architecture_id == winner]
    figure = run.final["test_loss"]
    assert sorted(figure.values) == sorted(values)
    assert (len(values), figure.over) == (2, "seeds")
    assert figure.mean == pytest.approx(statistics.fmean(values))
    reach = 12.706 * statistics.stdev(values) / 2**0.5  # Student's t, one degree of freedom
    assert figure.interval == pytest.approx((figure.mean - reach, figure.mean + reach))
    assert run.winner.architecture_id == winner


def test_verdict_names_the_better_winner_and_whether_seeds_can_tell(seeds, random):
    found = compare_studies([*seeds, random])
    first, second = sorted(found.groups, key=lambda group: group.final["test_loss"].mean)
    begin = f"test_loss of the winners: {first.label} {first.final['test_loss'].mean:.4f}, "
    assert found.verdict.startswith(begin + second.label)
    assert ("a tie" in found.verdict) != ("beyond the spread of seeds" in found.verdict)
    assert found.verdict.endswith("; a search from another seed may end elsewhere")  # random is one
    assert compare_studies(seeds).verdict == "no verdict: one kind of search"


def test_budget_is_what_all_candidates_used(seeds, random):
    run = compare_studies([seeds[0], random]).groups[0].runs[0]
    rows = seeds[0].trials()
    assert run.spent.tokens == sum(row.tokens for row in rows)
    assert run.spent.seconds == seeds[0].summary()["elapsed_seconds"]
    assert run.spent.worker_seconds < run.spent.seconds
    assert sum(run.states.values()) == FEW["candidates"]


@pytest.mark.parametrize(
    ("name", "options", "warning"),
    [
        ("data", {"fingerprint": "def456"}, "other data: data has def456, auto-0 abc123"),
        (
            "split",
            {"changes": {"split": {"train": 0.7, "val": 0.2, "test": 0.1}}},
            "another split: split against auto-0: split.train: 0.7 and 0.8",
        ),
        (
            "budget",
            {"changes": {"per_candidate": {"tokens": 200_000}}},
            "another budget a candidate: budget against auto-0: per_candidate.tokens: 200000 and",
        ),
        ("metric", {"objectives": ("val_bits_per_byte",)}, "each was searched for another metric"),
        ("limit", {"changes": {"stop": {"candidates": 99}}}, "another limit to the search: limit"),
        ("task", {"task": "image_classification"}, "another task: task against auto-0: task.name"),
        ("open", {"finished": False}, "open is not finished"),
    ],
)
def test_what_does_not_compare_is_said(seeds, make, name, options, warning):
    found = compare_studies([seeds[0], make(name, **options)])
    assert any(warning in line for line in found.warnings), found.warnings
    apart = name in ("data", "split", "task")
    assert (found.verdict == "no verdict: figures do not compare") == apart
    assert found.objective == "val_loss"


def test_larger_is_better_where_the_objective_says_so(make):
    options = {"task": "text_classification", "objectives": ("val_accuracy",)}
    pair = [make(f"labels-{seed}", seed=seed, **options) for seed in range(2)]
    found = compare_studies(pair)
    values = [value for _, value in found.groups[0].runs[0].best_so_far]
    assert found.direction == "maximize"
    assert values == sorted(values)
    assert set(found.groups[0].final) == {"val_accuracy", "test_accuracy"}


def test_a_changed_measurement_changes_the_line(make, random):
    study = make("changed")
    best = study.trials(role="search")[0]
    change_metric(study, best.candidate_id, 0.25)
    run = compare_studies([study, random]).groups[0].runs[0]
    assert run.best == 0.25


def test_a_search_without_a_complete_candidate_has_no_line(make, random):
    failed = make("failed", ends=("failed",))
    found = compare_studies([failed, random])
    run = found.groups[0].runs[0]
    assert (run.best, run.best_so_far, run.winner, dict(run.final)) == (None, (), None, {})
    assert found.groups[0].band == ()
    with pytest.raises(NotFoundError, match="no complete candidate in any of them"):
        compare_studies([failed, make("empty", candidates=0)])


def test_one_study_or_the_same_twice_is_refused(seeds):
    with pytest.raises(InputError, match="got 1 study, expected two or more"):
        compare_studies(seeds[:1])
    with pytest.raises(InputError, match="study 'auto-0' is given twice"):
        compare_studies([seeds[0], seeds[1], seeds[0]])
