"""Searches in a server's database: begun, resumed, loaded, deleted, and the server killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from pids import wait_until, workers_of
from postgres import PASSWORD

import nas
from nas.cli import main
from nas.driver.events import CandidateEnded, CandidateStarted, Note
from nas.errors import InputError, NotFoundError, StoreError
from nas.store import patience
from nas.store.mirror import trials_of
from nas.store.store import Store
from nas.study import list_studies

pytestmark = pytest.mark.slow
SMALL = {"finalists": {"top": 1, "seeds": 1}}


@pytest.fixture
def url(postgres_url):
    return postgres_url.replace("+psycopg", "")


@pytest.fixture
def known(url, monkeypatch):
    """The same URL, where every command finds it."""
    monkeypatch.setenv("NAS_DATABASE", url)
    return url


def facts(study):
    """What was found, in an order that does not hang on which worker was quicker."""
    rows = study.trials()
    return sorted((r.role, r.number, r.candidate_id, r.state, r.metrics["val_loss"]) for r in rows)


def holds_secret(text):
    return PASSWORD in text or quote(PASSWORD, safe="") in text


def test_search_on_a_server_finds_what_one_in_a_file_finds(configure, url, monkeypatch):
    in_file = nas.search(configure("in_file", **SMALL))
    study = nas.search(configure(**SMALL), database=url)
    assert facts(study) == facts(in_file)
    assert not (study.folder / "study.db").exists()
    address = (study.folder / "database.json").read_text()
    assert json.loads(address)["study"] == "tiny"
    assert not holds_secret(address)
    assert not holds_secret(json.dumps([dict(study.config), study.record.owner]))
    assert not holds_secret(study.database)
    with pytest.raises(StoreError, match="password"):
        nas.open_study("tiny")
    assert facts(nas.open_study("tiny", database=url)) == facts(study)
    monkeypatch.setenv("NAS_DATABASE", url)
    assert facts(nas.open_study("tiny")) == facts(study)
    assert nas.open_study(f"{url}#tiny").folder == study.folder
    assert sorted(list_studies()) == ["in_file", "tiny"]
    assert nas.load("tiny").architecture.id == study.summary()["winner"]
    mirrored = {t.user_attrs["candidate_id"]: t.value for t in trials_of(url, "tiny")}
    rows = study.trials(role="search")
    assert mirrored == {row.candidate_id: row.metrics["val_loss"] for row in rows}
    more = nas.search(configure(stop={"candidates": 6}, **SMALL))
    assert len(more.trials(role="search")) == 6
    assert facts(more)[0] == facts(study)[0]


def test_command_line_searches_asks_checks_and_deletes(configure, known, capsys, tmp_path):
    study = nas.search(configure(**SMALL))
    assert study.database == re.sub(r":[^:@/]*@", ":***@", known)
    for arguments in (["trials", "tiny"], ["best", "tiny"], ["show", "tiny"], ["db", "check"]):
        assert main(arguments) == 0, capsys.readouterr()
    out = capsys.readouterr().out
    assert "PostgreSQL 1" in out
    assert not holds_secret(out)
    best = study.best().candidate_id
    assert main(["train", "tiny", "--candidate", best, "--tokens", "8192", "--quiet"]) == 0
    assert [row.tokens for row in nas.open_study("tiny").trials(role="extended")] == [8192]
    assert main(["db", "upgrade", "tiny"]) == 0
    other = nas.search(configure("other", finalists={"top": 0}, stop={"candidates": 1}))
    assert main(["rm", "tiny", "--yes"]) == 0
    assert not study.folder.exists()
    with Store.open(known) as store:
        assert store.studies() == ["other"]
    assert trials_of(known, "tiny") == []
    assert len(trials_of(known, "other")) == 1
    away = other.folder.rename(tmp_path / "away")
    passwordless = known.replace(quote(PASSWORD, safe=""), "").replace("nas:@", "nas@")
    assert main(["rm", f"{passwordless}#other", "--yes"]) == 0, capsys.readouterr()
    with Store.open(known) as store:
        assert store.studies() == []
    away.rename(other.folder)
    assert main(["trials", "other"]) == 2
    assert main(["rm", "other", "--yes"]) == 0
    assert "only the folder is left" in capsys.readouterr().out
    assert not other.folder.exists()


def test_check_finds_what_is_wrong(configure, known, capsys, postgres):
    study = nas.search(configure(**SMALL))
    database = known.rpartition("/")[2]
    kept = next(row for row in study.trials() if row.model_path)
    shutil.rmtree(study.folder / kept.model_path)
    postgres.execute("UPDATE nas_evaluation SET tokens = tokens - 1 WHERE rung = 0", database)
    postgres.execute("DELETE FROM trial_values WHERE trial_id = 1", database)
    postgres.execute("DELETE FROM trial_user_attributes WHERE trial_id = 2", database)
    capsys.readouterr()
    assert main(["db", "check", "tiny", "--format", "json"]) == 1
    found = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    wrong = {name for name, row in found.items() if row["result"] == "wrong"}
    assert wrong >= {"measurements", "models", "mirror"}
    assert kept.candidate_id in found["models"]["found"]


def test_server_killed_in_mid_search_is_waited_for(configure, known, postgres):
    """Down for three seconds, with two workers at work; nothing is lost, doubled or different."""
    undisturbed = nas.search(configure("undisturbed", stop={"candidates": 6}))
    ended, notes, starting = [], [], []

    def disturb(event):
        if isinstance(event, Note):
            notes.append(event.text)
        if isinstance(event, CandidateEnded):
            ended.append(event.number)
            if len(ended) in (2, 5):
                postgres.stop()
                starting.append(threading.Timer(3.0, postgres.start))
                starting[-1].start()

    config = configure(stop={"candidates": 6}, executor="processes", workers=2)
    try:
        study = nas.search(config, listener=disturb)
    finally:
        for one in starting:
            one.join()
    assert facts(study) == facts(undisturbed)
    assert sum("is away; trying again" in note for note in notes) >= 2
    assert sum("is back after" in note for note in notes) >= 2
    assert not any(holds_secret(note) for note in notes)
    shown = [trial.user_attrs["candidate_id"] for trial in trials_of(known, "tiny")]
    assert sorted(shown) == sorted(row.candidate_id for row in study.trials(role="search"))
    assert main(["db", "check", "tiny"]) == 0


def test_server_that_stays_away_ends_the_search_which_goes_on_later(
    configure, known, postgres, monkeypatch, capsys
):
    monkeypatch.setattr(patience, "SECONDS", 1.5)
    undisturbed = nas.search(configure("undisturbed", **SMALL))

    def disturb(event):
        if isinstance(event, CandidateEnded) and event.number == 1:
            postgres.stop(signal.SIGINT)

    try:
        with pytest.raises(
            StoreError, match=r"in vain\. What was stored before is intact"
        ) as error:
            nas.search(configure(**SMALL), listener=disturb)
        assert not holds_secret(str(error.value))
        assert main(["trials", "tiny"]) == 1
        assert "refused" in capsys.readouterr().err
    finally:
        postgres.start()
    assert len(nas.open_study("tiny").trials()) >= 1
    assert facts(nas.search(configure(**SMALL))) == facts(undisturbed)


def test_who_leaves_while_the_server_is_away_waits_for_moments(
    configure, known, postgres, monkeypatch
):
    monkeypatch.setattr(patience, "LEAVE_SECONDS", 0.5)
    undisturbed = nas.search(configure("undisturbed", **SMALL))
    notes = []

    def disturb(event):
        if isinstance(event, Note):
            notes.append(event.text)
        if isinstance(event, CandidateEnded) and event.number == 1:
            postgres.stop(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            nas.search(configure(**SMALL), listener=disturb)
    finally:
        postgres.start()
    assert time.monotonic() - begun < 30
    assert any("done again by the same command" in note for note in notes)
    assert facts(nas.search(configure(**SMALL))) == facts(undisturbed)


def test_a_second_driver_elsewhere_is_refused(configure, known, tmp_path, monkeypatch):
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "studies"
    refused = []

    def search_too(event):
        if isinstance(event, CandidateStarted) and not refused:
            monkeypatch.setenv("NAS_STUDIES", str(elsewhere))
            with pytest.raises(
                InputError, match=rf"at work on it: .*process \d+, .* in {here}/t"
            ) as e:
                nas.search(configure())
            refused.append(str(e.value))
            monkeypatch.setenv("NAS_STUDIES", str(here))

    study = nas.search(configure(), listener=search_too)
    assert refused
    assert not (elsewhere / "tiny").exists()
    monkeypatch.setenv("NAS_STUDIES", str(elsewhere))
    again = rf"has a study 'tiny' already, with another folder \(.* in {here}/tiny\)"
    with pytest.raises(InputError, match=again):
        nas.search(configure())
    assert not (elsewhere / "tiny").exists()
    assert nas.open_study(f"{known}#tiny").folder == study.folder
    monkeypatch.setenv("NAS_STUDIES", str(here))
    assert nas.search(configure()).summary() == study.summary()


def test_where_a_study_is_does_not_change(configure, known, monkeypatch, postgres):
    study = nas.search(configure(**SMALL, stop={"candidates": 1}))
    other = postgres.url("another_database")
    with pytest.raises(InputError, match=r"'tiny' is in another database than the one asked for"):
        nas.search(configure(stop={"candidates": 2}), database=other)
    monkeypatch.delenv("NAS_DATABASE")
    in_file = nas.search(configure("in_file", stop={"candidates": 1}, finalists={"top": 0}))
    monkeypatch.setenv("NAS_DATABASE", known)
    more = nas.search(configure("in_file", stop={"candidates": 2}, finalists={"top": 0}))
    assert more.folder == in_file.folder
    assert (more.folder / "study.db").is_file()
    with pytest.raises(InputError, match=r"in_file.*study\.db"):
        nas.search(configure("in_file", stop={"candidates": 2}), database=known)
    (study.folder / "database.json").write_text('{"url": "postgresql://a:b@c/d"}')
    with pytest.raises(StoreError, match=r"database\.json: expected"):
        nas.open_study("tiny")


def test_fresh_moves_a_study_aside_on_its_server(configure, known):
    first = nas.search(configure(**SMALL))
    winner = first.summary()["winner"]
    task = {"name": "language_modeling", "data": "nothere.txt"}
    with pytest.raises(InputError, match=r"nothere\.txt: no such file"):
        nas.search(configure(task=task), fresh=True)
    assert facts(nas.open_study("tiny")) == facts(first)
    second = nas.search(configure(seed=5, stop={"candidates": 1}, **SMALL), fresh=True)
    with Store.open(known) as store:
        assert store.studies() == ["tiny.1", "tiny"]
    aside = nas.open_study("tiny.1")
    assert facts(aside) == facts(first)
    assert aside.folder.name == "tiny.1"
    assert len(aside.optuna_study().trials) == 4
    assert len(nas.open_study("tiny").optuna_study().trials) == 1
    assert nas.load("tiny.1").architecture.id == winner
    assert len(second.trials(role="search")) == 1


STUDY_FILE = """\
format_version: 1
space: llama_tiny
task: {name: language_modeling, data: words.txt}
recipe: {context: 32, batch: 8}
per_candidate: {tokens: 60000, eta: 1}
finalists: {top: 1, seeds: 1}
stop: {candidates: 4}
strategy: random
workers: 2
device: cpu
"""


@pytest.fixture
def place(configure, tmp_path):
    """A folder with a study file and its data, to be searched by processes of its own."""
    (tmp_path / "mine.yaml").write_text(STUDY_FILE)
    return tmp_path


def command(place, *arguments, **variables):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "NAS_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "nas", *arguments],
        cwd=place,
        env=kept | {"PYTHONPATH": str(Path(nas.__file__).parents[1])} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_workers(search):
    """Where /proc has the processes that a search has started."""

    def found():
        assert search.poll() is None, search.communicate()
        return workers_of(search.pid)

    return [Path(f"/proc/{pid}") for pid in wait_until(found, 120)]


def test_password_is_nowhere(place, url, postgres):
    """Not in what a search leaves, says, or lets the machine's users see of its workers."""
    passwordless = postgres.url(url.rpartition("/")[2], password=None)
    search = command(
        place, "search", "mine.yaml", "--database", passwordless,
        NAS_DATABASE=url, PGPASSWORD=PASSWORD, MY_DATABASE_URL=url, NAS_DEBUG="1",
    )  # fmt: skip
    seen = []
    for worker in wait_for_workers(search):
        seen.append((worker / "cmdline").read_text())
        seen.append((worker / "environ").read_text())
    assert any("PYTHONUNBUFFERED" in text for text in seen), "what workers inherit was seen"
    seen.append(Path(f"/proc/{search.pid}/cmdline").read_text())
    out, err = search.communicate(timeout=300)
    assert search.returncode == 0, err
    seen += [out, err, postgres.dump(url.rpartition("/")[2])]
    assert "nas_candidate" in seen[-1]
    files = [path for path in (place / "studies").rglob("*") if path.is_file()]
    assert len(files) > 5
    seen += [path.read_bytes().decode("latin-1") for path in files]
    for text in seen:
        assert not holds_secret(text)
        assert "MY_DATABASE_URL" not in text


def test_password_is_in_no_error(place, url, postgres):
    known = url.rpartition("/")[2]
    wrong = postgres.url(known, password="wr@ng-Secret")
    calls = [
        (["trials", f"{postgres.url(known)}#x"], {}),
        (["search", "mine.yaml", "--database", postgres.url(known)], {}),
        (["search", "mine.yaml", "--set", f"database={postgres.url(known)}"], {}),
        (["search", "mine.yaml"], {"NAS_DATABASE": wrong, "NAS_DEBUG": "1"}),
        (["search", "mine.yaml"], {"NAS_DATABASE": wrong.replace("%40", "@")}),
        (["search", "mine.yaml"], {"NAS_DATABASE": wrong.replace(known, "absent")}),
        (["db", "check", f"{postgres.url(known, password=None)}"], {"PGPASSWORD": "wr@ng-Secret"}),
    ]
    for arguments, variables in calls:
        done = command(place, *arguments, **variables)
        out, err = done.communicate(timeout=120)
        assert done.returncode in (1, 2), (arguments, out, err)
        said = out + err
        assert not holds_secret(said), said
        assert "ng-Secret" not in said
        assert "ng-Secret" not in quote(said)
        assert "NAS_DEBUG" in variables or len(said.strip().splitlines()) <= 4, said


def test_a_killed_driver_leaves_the_study_free_at_once(place, url):
    search = command(place, "search", "mine.yaml", NAS_DATABASE=url)
    wait_for_workers(search)
    time.sleep(3)
    os.killpg(search.pid, signal.SIGKILL)
    search.communicate()
    again = command(place, "search", "mine.yaml", "--quiet", NAS_DATABASE=url)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    check = command(place, "db", "check", "mine", NAS_DATABASE=url)
    out, err = check.communicate(timeout=120)
    assert check.returncode == 0, out + err


def test_study_file_with_a_password_is_refused(place, url):
    (place / "mine.yaml").write_text(STUDY_FILE + f"database: {url}\n")
    done = command(place, "search", "mine.yaml")
    out, err = done.communicate(timeout=120)
    assert done.returncode == 2
    assert "mine.yaml: database: got a database URL with a password" in err
    assert not holds_secret(out + err)
    with pytest.raises(NotFoundError):
        nas.open_study("mine")
