"""The language of `--where`."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import InputError
from nas.store.where import MAX_DEPTH, parse_where

ROW = {
    "val_loss": 1.75,
    "test_loss": None,
    "params": 800_000,
    "state": "complete",
    "tied": True,
    "d_ff": (128, 256),
    "n_kv_head": (1, 2),
    "created_at": datetime(2026, 5, 1, tzinfo=UTC),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("val_loss < 2", True),
        ("val_loss < 2 and params < 1e6", True),
        ("val_loss<2 and params>=.8E6", True),
        ("2 > val_loss", True),
        ("val_loss == 1.75", True),
        ("val_loss = 1.75", True),
        ("val_loss != 1.75", False),
        ("val_loss > -1", True),
        ("state == 'complete'", True),
        ('state == "failed"', False),
        ("state in ('failed', 'complete')", True),
        ("state not in ('failed')", True),
        ("params in (1, 800000)", True),
        ("test_loss is null", True),
        ("val_loss IS NOT NULL", True),
        ("tied == true", True),
        ("tied == FALSE", False),
        ("val_loss > 2 or params > 1 and state == 'failed'", False),
        ("(val_loss > 2 or params > 1) and state == 'complete'", True),
        ("not val_loss > 2 and params > 1", True),
        ("not not val_loss < 2", True),
        ("val_loss < params", True),
        ("d_ff >= 128", True),
        ("d_ff > 128", False),
        ("n_kv_head < d_ff", True),
        ("created_at > '2026-04-30'", True),
    ],
)
def test_expression_holds_as_it_reads(text, expected):
    assert parse_where(text, ROW)(ROW) is expected


@pytest.mark.parametrize("comparison", ["< 2", "> 2", "== 2", "!= 2", "in (2)", "== state"])
def test_empty_cell_obeys_no_comparison(comparison):
    assert parse_where(f"test_loss {comparison}", ROW)(ROW) is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val_los < 2", "at character 1: unknown column 'val_los'; did you mean 'val_loss'"),
        ("state == complete", "unknown column 'complete'; text needs quotes"),
        ("", "at character 1: got the end, expected a column, a number or quoted text"),
        ("val_loss", "at character 9: got the end, expected a comparison"),
        ("val_loss <", "at character 11: got the end, expected a column"),
        ("val_loss < 2 params", "at character 14: got 'params', expected 'and', 'or' or the end"),
        ("1 < val_loss < 2", "got '<', expected 'and' between two comparisons"),
        ("(val_loss < 2", r"at character 14: got the end, expected '\)'"),
        ("val_loss is 2", "got '2', expected 'null'"),
        ("val_loss in 2", r"got '2', expected '\('"),
        ("state == 'x", 'at character 10: got "\'", expected'),
        ("val_loss < 2; DROP TABLE nas_study", "at character 13: got ';', expected"),
        ("val_loss < 2 -- and", "at character 14: got '-'"),
        ("__import__('os')", "unknown column '__import__'"),
        ("val_loss.__class__ == 1", r"at character 9: got '\.'"),
        ("val_loss < 2e", "at character 12: got '2'"),
        ("state == 'a' or 1=1 UNION SELECT 1", "got 'UNION', expected 'and'"),
        ("(" * (MAX_DEPTH + 1), f"nested deeper than {MAX_DEPTH} levels"),
        ("not " * (MAX_DEPTH + 1), f"nested deeper than {MAX_DEPTH} levels"),
        ("1 == 1 and " * 500, "characters, at most 2000 are allowed"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(text, message):
    with pytest.raises(InputError, match=f"where: .*{message}"):
        parse_where(text, ROW)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("state < 3", "state < 3: text is compared with a number"),
        ("val_loss == 'low'", "val_loss == 'low': a number is compared with text"),
        ("tied == 1", "tied == 1: true or false is compared with a number"),
        ("d_ff == 'x'", "d_ff == 'x': a number is compared with text"),
    ],
)
def test_comparing_unlike_things_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_where(text, ROW)(ROW)


PIECES = st.sampled_from(
    [*ROW, *"()<>=,'\";", "and", "or", "not", "in", "is", "null", "==", "1", "1e999", "-2.5", "'a'"]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map(" ".join)))
def test_any_text_is_an_expression_or_an_input_error(text):
    try:
        assert parse_where(text, ROW)(ROW) in (True, False)
    except InputError:
        return  # anything else is a bug
