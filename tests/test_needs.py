"""A test that lacks what it needs is skipped, and fails where CI runs."""

import pytest
from needs import lack, need_module, need_program, need_success, need_variable


def test_what_is_here_lets_a_test_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    assert need_program("python3", "").endswith("python3")
    need_module("json", "")
    need_success(["true"], "")
    assert need_variable("CI", "") == "1"


@pytest.mark.parametrize(
    ("ci", "kind"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)]
)
def test_what_is_absent_skips_and_in_ci_fails(
    ci: str, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(kind, match=r"no program 'nowhere'; install it with: apt-get install now"):
        need_program("nowhere", "apt-get install nowhere")
    with pytest.raises(kind, match=r"no module 'nowhere'; install it with: pip install nowhere"):
        need_module("nowhere", "pip install nowhere")
    with pytest.raises(kind, match=r"`false` fails here; allow it"):
        need_success(["false"], "allow it")
    with pytest.raises(kind, match=r"no environment variable NOWHERE: where it is"):
        need_variable("NOWHERE", "where it is")
    with pytest.raises(kind, match=r"no luck"):
        lack("no luck")
