import pytest
from tiny_study import plain_study, write_text

from nas.config import config_from_plain


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Returns configs of a tiny study on tiny text, in a folder of its own."""
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path / "studies"))
    text = write_text(tmp_path / "words.txt")
    usual = {
        "split": {"train": 0.8, "val": 0.1, "test": 0.1},
        "per_candidate": {"tokens": 4096, "eta": 1},  # pauses: see test_halving
        "finalists": {"top": 2, "seeds": 2},
        "stop": {"candidates": 4},
        "keep": 2,
    }

    def configure(name="tiny", **changes):
        plain = plain_study(text, **usual | changes)
        return config_from_plain(plain, where="test", name=name)

    return configure
