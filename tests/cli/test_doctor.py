"""`nas doctor`: each check alone, what is missing with what to do, no password, exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas import doctor
from nas.doctor import examine, guarded, packages
from nas.doctor.finding import BAD, MISSING, NOTE, OK, STATES, Finding

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def fresh():
    """Nothing remembered of packages, before and after."""
    packages.requirements.cache_clear()
    yield
    packages.requirements.cache_clear()


def run(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "nas", "doctor", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), **environment},
    )


def named(findings, name):
    return next(one for one in findings if one.name == name)


def test_a_machine_that_can_search_is_told_so(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = nas("doctor", "--json")
    assert found.code == 0
    plain = json.loads(found.out)
    assert plain["can_search"] is True
    states = {one["name"]: one["state"] for one in plain["findings"]}
    assert set(states.values()) <= set(STATES)
    for name in ("Python", "packages", "torch", "processor", "bf16", "device", "memory", "SQLite"):
        assert states[name] in (OK, NOTE)
    assert str(tmp_path) in named_plain(plain, "studies")["found"]
    assert list(tmp_path.iterdir()) == []  # it leaves nothing behind
    shown = nas("doctor")
    assert shown.code == 0
    assert "searches can run" in shown.out
    assert "\x1b" not in shown.out
    lines = [line for line in shown.out.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 80


def named_plain(plain, name):
    return next(one for one in plain["findings"] if one["name"] == name)


def test_what_is_optional_and_missing_has_the_line_that_installs_it(fresh, monkeypatch):
    there = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: None if name == "scipy" else there(name))
    found = named(packages.extras(), "extra gp")
    assert found.state == MISSING
    assert found.advice == 'pip install "transformer-nas[gp]"'


def test_a_version_that_is_not_supported_is_told(fresh, monkeypatch):
    old = {"optuna": "4.0.0"}
    there = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: old.get(name) or there(name))
    (found,) = packages.required()
    assert found.state == BAD
    assert "optuna: 4.0.0 is installed" in found.found
    assert found.advice.startswith('pip install "optuna')


def test_metadata_of_an_installation_says_the_same_as_a_checkout(fresh, monkeypatch):
    """A wheel has no pyproject.toml beside it: what its metadata says is read instead."""
    checkout = {name: sorted(map(str, one)) for name, one in packages.requirements().items()}
    packages.requirements.cache_clear()
    monkeypatch.setattr(packages, "_project", dict)
    lines = [f"{one}" for one in checkout[""]]
    lines += [f'{one.partition(";")[0]}; extra == "gp"' for one in checkout["gp"]]
    monkeypatch.setattr(packages, "requires", lambda name: lines)
    installed = packages.requirements()
    assert sorted(map(str, installed[""])) == checkout[""]
    assert [one.name for one in installed["gp"]] == ["scipy"]


def test_an_error_in_a_check_is_a_line(monkeypatch):
    def broken():
        raise ImportError("libfoo.so: no such file")

    (found,) = guarded("extras", broken, needed=False)
    assert (found.state, found.found) == (MISSING, "ImportError: libfoo.so: no such file")
    monkeypatch.setattr(
        doctor, "CHECKS", (("torch", broken, True), ("python", packages.python, True))
    )
    states = [one.state for one in examine()]
    assert states == [BAD, OK]


@pytest.mark.slow
def test_a_broken_torch_is_a_line_and_no_search_can_run(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so: not found')")
    run_here = run(tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{REPOSITORY}")
    assert run_here.returncode == 1
    assert "Traceback" not in run_here.stdout + run_here.stderr
    assert "OSError: libcudart.so: not found" in " ".join(run_here.stdout.split())
    assert "searches cannot run" in run_here.stdout


def test_thorough_imports_each_package_in_a_process_of_its_own(monkeypatch, tmp_path):
    (tmp_path / "brokenpart.py").write_text("import os\nos._exit(3)\n")
    (tmp_path / "wholepart.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert packages._imported("wholepart") == Finding(
        name="import wholepart", state=OK, found="works"
    )
    found = packages._imported("brokenpart")
    assert (found.state, found.found) == (NOTE, "ended with 3")
    missing = packages._imported("nopart")
    assert missing.found == "ModuleNotFoundError: No module named 'nopart'"


def test_a_folder_that_cannot_be_written_ends_with_1(nas, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path / "file" / "studies"))
    found = nas("doctor")
    assert found.code == 1
    assert "cannot be written" in " ".join(found.out.split())
    assert "NAS_STUDIES" in found.out


def test_a_server_that_does_not_answer_is_told_without_the_password(nas, monkeypatch):
    monkeypatch.setenv("NAS_DATABASE", "postgresql://me:geheim%40x@127.0.0.1:9/nas")
    found = nas("doctor")
    assert found.code == 1
    text = " ".join(found.out.split())
    assert "PostgreSQL bad postgresql://me:***@127.0.0.1:9/nas" in text.replace("  ", " ")
    assert "geheim" not in found.out + found.err + nas("doctor", "--json").out


def test_a_url_that_is_none_is_told(nas, monkeypatch):
    monkeypatch.setenv("NAS_DATABASE", "mysql://me:geheim@host/nas")
    found = nas("doctor")
    assert found.code == 1
    assert "geheim" not in found.out
    assert "got kind 'mysql'" in found.out


@pytest.mark.slow
def test_a_server_that_answers_is_named_with_its_version(nas, monkeypatch, postgres_url):
    monkeypatch.setenv("NAS_DATABASE", postgres_url)
    found = nas("doctor", "--json")
    assert found.code == 0
    assert "answers, version" in named_plain(json.loads(found.out), "PostgreSQL")["found"]


def test_a_browser_is_found_by_its_variable(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "BROWSERS", ())
    monkeypatch.setattr(packages, "BROWSER_FILES", ())
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    assert packages.browser()[0].state == MISSING
    (tmp_path / "chrome").write_text("")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "chrome"))
    assert packages.browser()[0] == Finding(
        name="browser", state=OK, found=str(tmp_path / "chrome")
    )
