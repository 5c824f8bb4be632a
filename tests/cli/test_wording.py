"""Numbers, shapes, tables and curves as people read them."""

import pytest

from nas.cli.curve import curve_lines
from nas.cli.tables import show_pairs, show_table
from nas.cli.wording import cell, count, duration, measure, shape_words, size
from nas.wording import comparison_words


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"), (999, "999"), (999.6, "1k"), (9_460, "9.5k"), (99_960, "100k"),
        (999_499, "999k"), (999_500, "1M"), (1_234_567, "1.2M"), (3.4e9, "3.4G"), (-2500, "-2.5k"),
    ],
)  # fmt: skip
def test_count_has_three_digits_at_most(number, text):
    assert count(number) == text


def test_sizes_have_units():
    assert [size(512), size(1_500_000)] == ["512 B", "1.5 MB"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 0 s"),
        (200, "3 min 20 s"), (3599.9, "1 h 0 min"), (7500, "2 h 5 min"),
    ],
)  # fmt: skip
def test_duration_is_short(seconds, text):
    assert duration(seconds) == text


def test_measure_keeps_small_and_large_numbers_apart_from_zero():
    assert [measure(v) for v in (0.0, 1.98766, 1e-7, 123456.0)] == [
        "0.0000", "1.9877", "1e-07", "1.235e+05"
    ]  # fmt: skip


def test_shape_is_short_whatever_its_family():
    llama = {"d_ff": (96, 80, 64), "n_layer": 3, "d_model": 96, "n_head": 6, "tied": False}
    assert shape_words(llama) == "3L d96 h6 ff96..64 not-tied"
    assert shape_words({"n_layer": 3, "d_ff": (32, 48, 32)}) == "3L ff32,48,32"
    assert shape_words({"patch": 4, "n_layer": 2}) == "2L patch=4"


def test_cell_keeps_lists_and_says_nothing_with_a_dash():
    assert [cell("x", None), cell("x", ""), cell("x", (1, 2)), cell("tied", True)] == [
        "-", "-", "1,2", "yes"
    ]  # fmt: skip


def test_table_drops_whole_columns_and_clips_only_prose(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    rows = [{"name": "a" * 12, "params": 123456, "tokens": 1_000_000, "description": "words " * 9}]
    show_table(rows, ["name", "params", "description", "tokens"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "params", "description"]
    assert lines[1].endswith("words words wor...")
    assert max(map(len, lines)) <= 40


def test_table_of_chosen_columns_shows_them_all(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    show_table([{"a": "x" * 20, "b": 1.25}], ["a", "b"], fit=False)
    assert capsys.readouterr().out.splitlines()[1] == "x" * 20 + "  1.25"


def test_long_values_are_wrapped_below_themselves(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    show_pairs({"one": "word " * 8, "longer": 3, "none": None})
    assert capsys.readouterr().out.splitlines() == [
        "one     word word word word",
        "        word word word word",
        "longer  3",
    ]


def test_curve_is_drawn_within_its_width():
    lines = curve_lines([(10, 5.0), (20, 3.0), (30, 2.0)], [(30, 2.5)], 60)
    assert max(map(len, lines)) <= 60
    assert lines[0].startswith("    5.000")
    assert lines[9].startswith("    2.000")
    assert curve_lines([], [], 80) == []
    assert curve_lines([(10, 5.0)], [], 80)


def test_comparison_calls_a_tie_a_tie():
    found = {"difference": -0.01, "interval": (-0.03, 0.01), "tie": True}
    assert comparison_words(found) == "-0.0100 (95 % interval -0.0300 to +0.0100), a tie"
    found = {"difference": -0.05, "interval": (-0.06, -0.04), "tie": False}
    assert comparison_words(found).endswith("beyond the spread of seeds")
    assert "one seed" in comparison_words({"difference": 0.1, "interval": None, "tie": True})
