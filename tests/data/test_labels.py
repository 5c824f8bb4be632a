"""Classes get their numbers from their names."""

from __future__ import annotations

import pytest

from nas.data.labels import label_names
from nas.errors import DataError


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["2", "--1"], ("--1", "2")),
        (["2", "-", "1"], ("-", "1", "2")),
        (["2", "9" * 5000], ("2", "9" * 5000)),
        (["01", "1", "0"], ("0", "01", "1")),
    ],
)
def test_classes_are_in_order_of_their_numbers_if_all_are_numbers(found, names):
    assert label_names(found, where="a.csv") == names


@pytest.mark.parametrize("empty", ["", " "])
def test_a_class_without_a_name_is_refused(empty):
    with pytest.raises(DataError, match=r"a\.csv: an example of train has an empty label"):
        label_names(["x", empty, "y"], where="a.csv")
