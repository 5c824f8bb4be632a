"""What Python ships is data for every task."""

from __future__ import annotations

from collections import Counter

import pytest
from needs import need_module

from nas.data import examples


@pytest.mark.slow
def test_docstrings_do_not_name_their_package() -> None:
    texts, packages = examples.docstrings()
    assert len(texts) == len(packages) > 1000
    assert len(set(packages)) == examples.PACKAGES
    assert len(set(texts)) == len(texts)
    words = [set(text.lower().split()) for text in texts]
    assert not any(name in found for name, found in zip(packages, words, strict=True))


@pytest.mark.slow
def test_function_names_are_words() -> None:
    sentences, names = examples.function_names()
    assert len(sentences) == len(names) > 1000
    assert len(set(sentences)) == len(sentences)
    assert all(name and name == name.lower() and "_" not in name for name in names)
    assert not any(name.startswith("test") for name in names)


@pytest.mark.slow
def test_name_log_has_users_with_enough_events() -> None:
    log = examples.name_log()
    assert len(log["user"]) == len(log["item"]) == len(log["time"]) > 10_000
    assert min(Counter(log["user"]).values()) >= examples.LEAST_CALLS


def test_digits_are_bytes() -> None:
    need_module("sklearn", 'pip install "transformer-nas[vision]"')
    pixels, labels = examples.digits()
    assert pixels.shape == (1797, 8, 8, 1)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert sorted(set(labels.tolist())) == list(range(10))


@pytest.mark.parametrize("name", ["docstrings", "function_names", "name_log"])
def test_built_in_data_is_the_same_each_time(name: str) -> None:
    assert getattr(examples, name)() == getattr(examples, name)()
