"""Who may write a study, with the locks of a file system and without."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

import nas
from nas.driver import claim as claims
from nas.driver import owner as owners
from nas.driver.claim import LOCK, OWNER, claim
from nas.driver.owner import Owner, read_owner, started, write_owner
from nas.errors import InputError, NasError

# Takes a study, with or without the file system's locks, says so and waits.
HOLDER = """
import errno, sys, types
from pathlib import Path
import nas
driver = sys.modules["nas.driver"] = types.ModuleType("nas.driver")  # all of it takes a second
driver.__path__ = [str(Path(nas.__file__).parent / "driver")]
from nas.driver import claim as claims
if sys.argv[2] == "without":
    def no_locks(file):
        raise OSError(errno.ENOLCK, "No locks available")
    claims._lock = no_locks
with claims.claim(Path(sys.argv[1]), "search") as taken:
    print(taken.note or "taken", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny").mkdir()
    return tmp_path / "tiny"


@pytest.fixture(params=["with", "without"])
def locks(request, monkeypatch):
    """Once as the file system is, once with none that works, as on some network file systems."""
    if request.param == "without":

        def no_locks(_file):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(claims, "_lock", no_locks)
    return request.param


def holder(folder, locks):
    command = [sys.executable, "-c", HOLDER, str(folder), locks]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes)
    assert process.stdout.readline().strip() == "taken"
    return process


def elsewhere(**changes):
    """An owner on another machine."""
    fields = {"command": "search", "pid": 4711, "host": "host7", "user": "ann", "started": "1"}
    return Owner(**fields, since="2026-01-01T12:00:00+00:00", **changes)


def backdate(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_second_one_is_refused_and_told_who_is_first(folder, locks):
    with holder(folder, locks) as first:
        said = rf"study 'tiny': a search of \S+ on \S+ \(pid {first.pid}, since \d\d:\d\d\) is at"
        with pytest.raises(InputError, match=said):
            claim(folder)
        first.communicate("\n", timeout=30)
    with claim(folder) as taken:
        assert taken.note == ""


def test_a_killed_owner_is_taken_over_with_a_note(folder, locks):
    with holder(folder, locks) as first:
        first.kill()
    with claim(folder) as taken:
        assert f"(pid {first.pid}, since" in taken.note
        assert "ended without a word; its study was taken over" in taken.note
    assert sorted(path.name for path in folder.iterdir()) == [LOCK]


@pytest.mark.slow
def test_a_stopped_owner_is_alive(folder, locks):
    with holder(folder, locks) as first:
        first.send_signal(signal.SIGSTOP)
        backdate(folder / OWNER, 3600)  # a clock that jumped, or an hour without a beat
        with pytest.raises(InputError, match=f"pid {first.pid}"):
            claim(folder)
        first.send_signal(signal.SIGCONT)
        first.communicate("\n", timeout=30)


def test_two_in_one_process_are_refused(folder, locks):
    with claim(folder), pytest.raises(InputError, match=f"pid {os.getpid()}"):
        claim(folder, "training")


@pytest.mark.parametrize("locks", ["without"], indirect=True)
def test_without_locks_an_owner_elsewhere_lives_as_long_as_its_file_is_touched(folder, locks):
    write_owner(folder / OWNER, elsewhere())
    said = r"a search of ann on host7 \(pid 4711, since 2026-01-01 .*if it is dead, this is seen"
    with pytest.raises(InputError, match=said):
        claim(folder)
    backdate(folder / OWNER, owners.STALE_SECONDS + 5)
    with claim(folder) as taken:
        assert "host7" in taken.note


@pytest.mark.parametrize("locks", ["without"], indirect=True)
def test_without_locks_a_number_that_is_used_again_is_another_process(folder, locks):
    reused = Owner.this_process("search")
    write_owner(folder / OWNER, replace(reused, started="another start"))
    with claim(folder) as taken:
        assert f"pid {os.getpid()}" in taken.note


@pytest.mark.parametrize("locks", ["without"], indirect=True)
def test_without_locks_whoever_was_taken_over_notices(folder, locks, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.05)
    with claim(folder) as first:
        first.check()
        (folder / OWNER).unlink()
        write_owner(folder / OWNER, elsewhere())
        time.sleep(0.5)
        with pytest.raises(NasError, match="another one has taken the study over"):
            first.check()
    assert read_owner(folder / OWNER) == elsewhere()  # and leaves what is not its own


@pytest.mark.slow
def test_an_owner_elsewhere_that_beats_is_heard_though_the_lock_is_free(folder, monkeypatch):
    """Locks of some network file systems hold on one machine only."""
    monkeypatch.setattr(owners, "BEAT_SECONDS", 1.0)
    write_owner(folder / OWNER, elsewhere())
    beat = f"""
import os, sys, time
for _ in range(40):
    os.utime({str(folder / OWNER)!r}); time.sleep(0.1)
"""
    with subprocess.Popen([sys.executable, "-c", beat]) as beating:
        with pytest.raises(InputError, match="ann on host7"):
            claim(folder)
        beating.kill()
    with claim(folder) as taken:
        assert "host7" in taken.note


def test_the_file_is_touched_while_the_owner_works(folder, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.05)
    with claim(folder):
        backdate(folder / OWNER, 1000)
        time.sleep(0.5)
        assert time.time() - (folder / OWNER).stat().st_mtime < 10


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b'{"pid": []}', b'{"pid": 1, "host": 7}', b"[" * 10_000],
)
def test_an_owner_that_cannot_be_read_is_no_owner(folder, content):
    (folder / OWNER).write_bytes(content)
    assert read_owner(folder / OWNER) is None
    with claim(folder) as taken:  # the lock is free
        assert taken.note == ""


def test_what_a_stranger_wrote_is_shown_without_control_characters(folder):
    plain = {"command": "search", "pid": 1, "host": "\x1b[31mhost", "user": "x" * 999,
             "since": "never", "started": ""}  # fmt: skip
    (folder / OWNER).write_text(json.dumps(plain))
    words = read_owner(folder / OWNER).words()
    assert words == f"a search of {'x' * 64} on [31mhost (pid 1)"


def test_a_process_is_known_by_its_start():
    assert started(os.getpid()) == started(os.getpid()) != ""
    assert started(os.getpid()) != started(os.getppid())
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        ended.wait()
        assert started(ended.pid) == ""


@pytest.mark.slow
def test_a_search_says_whose_study_it_took_over(configure, tmp_path):
    from nas.driver.events import Note

    study = nas.search(configure(stop={"candidates": 1}, finalists={"top": 0}))
    with holder(study.folder, "with") as killed:
        killed.kill()
    told = []
    more = configure(stop={"candidates": 2}, finalists={"top": 0})
    nas.search(more, listener=told.append)
    [note] = [event.text for event in told if isinstance(event, Note)]
    assert re.match(rf"a search of \S+ on \S+ \(pid {killed.pid}, since", note)
