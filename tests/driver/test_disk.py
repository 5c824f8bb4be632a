"""Disks that are full or cannot be written, real ones: a search ends cleanly and goes on after."""

import gc
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from mounts import Filler, mounted, remount, unmount, use_up_inodes
from needs import lack, need_program

import nas
from nas.cli import main
from nas.driver import disk
from nas.driver.events import CandidateEnded, CandidateStarted, Note, SearchStarted
from nas.driver.retrain import retrain
from nas.errors import DiskError, StoreError
from nas.records import Progress

REPOSITORY = Path(__file__).parents[2]
SMALL = {
    "per_candidate": {"tokens": 2048, "eta": 1},
    "finalists": {"top": 1, "seeds": 1},
    "stop": {"candidates": 3},
}


def results(study):
    return sorted(
        (row.number, row.role, row.candidate_id, row.state, row.metrics["val_loss"])
        for row in study.trials()
    )


WHOLE = {}  # what was found before, by settings


@pytest.fixture
def whole(configure, tmp_path, monkeypatch):
    """Returns what a search gives that nothing disturbs."""

    def whole(**changes):
        if (key := repr(changes)) not in WHOLE:
            with monkeypatch.context() as patch:
                patch.setenv("NAS_STUDIES", str(tmp_path / "undisturbed"))
                WHOLE[key] = results(nas.search(configure("whole", **changes)))
        return WHOLE[key]

    return whole


@pytest.fixture
def small_disk(configure, tmp_path, monkeypatch):
    """A file system of 16 MB that studies lie on, wherever `configure` would have them."""
    with mounted(tmp_path / "small", "size=16m") as folder:
        monkeypatch.setenv("NAS_STUDIES", str(folder / "studies"))
        yield folder


def check_sound(study):
    """Nothing is there twice, every folder loads, nothing temporary is left."""
    folder = study.folder
    with closing(sqlite3.connect(folder / "study.db")) as database:
        [[doubled]] = database.execute(
            "SELECT count(*) FROM (SELECT 1 FROM nas_evaluation"
            " GROUP BY candidate_id, rung HAVING count(*) > 1)"
        )
        assert doubled == 0
        assert list(database.execute("PRAGMA integrity_check")) == [("ok",)]
    rows = study.trials()
    models = {row.model_path for row in rows if row.model_path}
    assert {f"models/{path.name}" for path in (folder / "models").iterdir()} == models
    for path in models:
        nas.load(folder / path, verify=True, device="cpu")
    kept = {row.checkpoint.uri for row in rows if row.checkpoint}
    assert {f"checkpoints/{path.name}" for path in (folder / "checkpoints").iterdir()} == kept
    assert not [path for path in folder.rglob("*") if path.name.endswith((".part", ".tmp"))]
    ended = [trial.user_attrs["candidate_id"] for trial in study.optuna_study().get_trials()]
    assert sorted(ended) == sorted(row.candidate_id for row in rows if row.role == "search")


def before_and_after(config, act, moment):
    """Act at a moment; return the search's end and what it had stored by then."""
    seen = []

    def listener(event):
        if moment(event, seen):
            act()
        seen.append(event)

    with pytest.raises(DiskError) as ended:
        nas.search(config, listener=listener)
    assert len(str(ended.value).splitlines()) == 1
    opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [file for file in opened if "study.db" in file], "while the error is still held"
    return str(ended.value)


def at_end(number):
    """The moment at which the candidate of a number ended."""
    return lambda event, _: isinstance(event, CandidateEnded) and event.number == number


def in_training(number):
    """The moment of the first sign of life after the candidate of a number began."""

    def moment(event, seen):
        begun = [e.number for e in seen if isinstance(e, CandidateStarted)]
        had = any(isinstance(e, Progress) for e in seen)
        return isinstance(event, Progress) and begun[-1:] == [number] and not had

    return moment


# What is left decides whose write finds the disk full: nothing, that of whoever comes first; some
# pages, a commit's or its log's; more, a checkpoint's or a model folder's. Each search of 3 + 2
# trainings writes a folder of 40 to 60 kB at the end of each.
ROOMS = (0, 4_096, 8_192, 16_384, 24_576, 40_960, 65_536, 98_304, 131_072, 262_144)


def ends_full_and_goes_on(configure, whole, small_disk, moment, room, **changes):
    expected = whole(**changes)
    filler = Filler(small_disk)
    words = before_and_after(configure(**changes), lambda: filler.fill(room), moment)
    assert words.startswith(f"{small_disk / 'studies' / 'tiny'}: the disk is full: ")
    assert " are free, and " in words
    assert " are needed for a candidate, " in words
    assert words.endswith("the same command goes on: everything up to here is kept")
    filler.free()
    stored = nas.open_study("tiny").trials("state == 'complete'")
    before = {row.candidate_id: row.metrics for row in stored}
    study = nas.search(configure(**changes))
    assert results(study) == expected
    after = {row.candidate_id: row.metrics for row in study.trials()}
    assert before.items() <= after.items()
    assert all(row.state == "complete" for row in study.trials())
    check_sound(study)
    return before


@pytest.mark.parametrize("room", [0, 24_576])
def test_disk_that_fills_up_ends_the_search_and_the_same_call_goes_on(
    configure, whole, small_disk, room
):
    before = ends_full_and_goes_on(configure, whole, small_disk, at_end(0), room, **SMALL)
    assert before, "the first candidate had ended"


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_disk_may_fill_up_at_any_write(configure, whole, small_disk, number, room):
    changes = {**SMALL, "finalists": {"top": 2, "seeds": 2}, "stop": {"candidates": 4}}
    ends_full_and_goes_on(configure, whole, small_disk, at_end(number), room, **changes)


# So long that it is still in training when it first says something.
LONG = {
    "per_candidate": {"tokens": 100_000, "eta": 1},
    "stop": {"candidates": 1},
    "finalists": {"top": 0},
}


@pytest.mark.slow
def test_checkpoint_that_finds_the_disk_full_is_no_fault_of_its_candidate(
    configure, whole, small_disk
):
    """Ctrl-C has the candidate saved, which cannot be."""
    import signal

    filler = Filler(small_disk)

    def act():
        filler.fill(98_304)  # a commit fits, a checkpoint does not
        signal.raise_signal(signal.SIGINT)

    words = before_and_after(configure(**LONG), act, in_training(0))
    assert "the disk is full" in words
    [left] = nas.open_study("tiny").trials()
    assert (left.state, left.error, left.checkpoint) == ("interrupted", "", None)
    filler.free()
    study = nas.search(configure(**LONG))
    assert results(study) == whole(**LONG)
    check_sound(study)


def test_disk_that_is_full_from_the_beginning_leaves_nothing_behind(configure, small_disk):
    filler = Filler(small_disk)
    for room in (0, 4_096, 16_384, 65_536):
        filler.fill(room)
        with pytest.raises(DiskError, match=r"tiny: .*free some space"):
            nas.search(configure(**SMALL))
        assert not (small_disk / "studies" / "tiny").exists()
        filler.free()
    assert nas.search(configure(**SMALL)).best()


@pytest.mark.slow
def test_least_that_a_study_takes_is_asked_for_before_it_trains(configure, small_disk, monkeypatch):
    events = []
    filler = Filler(small_disk)
    nas.search(configure(**SMALL, keep=1), listener=events.append)
    assert not [event for event in events if isinstance(event, Note)], "there is room for all of it"
    filler.fill(2_000_000)
    nas.search(configure("two", **SMALL), listener=events.append)
    [note] = [event.text for event in events if isinstance(event, Note)]
    assert "the study takes at most" in note
    assert "are free; if the disk fills up, the search ends and goes on" in note
    monkeypatch.setattr(disk, "LEAST_DATABASE", 100_000_000)
    with pytest.raises(
        DiskError, match=r"free, and the study needs at least 9\d\.\d MB more \(and"
    ):
        nas.search(configure("three", **SMALL))


@pytest.mark.slow
def test_without_inodes_it_is_said_that_no_files_can_be_made(configure, tmp_path, monkeypatch):
    with mounted(tmp_path / "few", "size=32m,nr_inodes=120") as folder:
        monkeypatch.setenv("NAS_STUDIES", str(folder / "studies"))
        config = configure(**SMALL)
        words = before_and_after(config, lambda: use_up_inodes(folder), at_end(0))
        assert "tiny: no more files can be made (the file system's inodes are used up)" in words
        shutil.rmtree(folder / "many")
        check_sound(nas.search(configure(**SMALL)))


@pytest.mark.slow
def test_read_only_from_the_beginning_is_refused(configure, small_disk):
    remount(small_disk, "ro")
    with pytest.raises(DiskError, match=r"tiny: the file system is read-only; make it writable"):
        nas.search(configure(**SMALL))
    remount(small_disk, "rw")
    study = nas.search(configure(**SMALL))
    remount(small_disk, "ro")
    more = {**SMALL, "stop": {"candidates": 4}}
    with pytest.raises(DiskError, match=r"tiny: the file system is read-only"):
        nas.search(configure(**more))
    remount(small_disk, "rw")
    check_sound(nas.search(configure(**more)))
    assert len(study.trials(role="search")) == 4


@pytest.mark.slow
def test_a_study_is_read_where_nothing_can_be_written(configure, small_disk, capsys):
    study = nas.search(configure(**SMALL))
    rows, trials = study.trials(), len(study.optuna_study().trials)
    database = study.folder / "study.db"
    with closing(sqlite3.connect(database)) as other:  # its log is left there as by a crash
        other.execute("PRAGMA wal_autocheckpoint = 0").close()
        other.execute("UPDATE nas_study SET state = 'interrupted'").close()
        other.commit()
        shutil.copytree(study.folder, study.folder.with_name("crashed"))
        other.execute("UPDATE nas_study SET state = 'finished'").close()
        other.commit()
    remount(small_disk, "ro")
    study = nas.open_study("tiny")
    assert study.trials() == rows
    assert len(study.optuna_study().trials) == trials
    assert main(["trials", "tiny"]) == 0
    assert rows[0].candidate_id[:4] in capsys.readouterr().out
    assert nas.load("tiny", verify=True, device="cpu") is not None
    with pytest.raises(StoreError, match=r"study\.db: .*; it cannot be written"):
        study.enqueue({"n_layer": 2, "d_model": 32, "n_head": 1, "d_ff": 32})
    crashed = nas.open_study(study.folder.with_name("crashed") / "study.db")
    assert crashed.record.state == "interrupted", "what only the log has is read too"


@pytest.mark.slow
def test_training_again_on_a_full_disk_ends_cleanly(configure, small_disk):
    study = nas.search(configure(**SMALL, keep=1))
    row = next(row for row in study.trials(role="search") if row.model_path is None)
    filler = Filler(small_disk)
    filler.fill()
    with pytest.raises(DiskError, match=r"tiny: the disk is full.* the same command goes on"):
        retrain(study, row.candidate_id)
    filler.free()
    assert retrain(study, row.candidate_id).model_path
    check_sound(study)


@pytest.mark.slow
def test_file_system_that_turns_read_only_in_mid_search(configure, whole, tmp_path, monkeypatch):
    """As a damaged disk does: ext4 lets nobody write any more, not even to open files."""
    for program in ("mkfs.ext4", "losetup"):
        need_program(program, "apt-get install -y e2fsprogs mount")
    image, folder = tmp_path / "disk", tmp_path / "ext4"
    with image.open("wb") as file:
        file.truncate(24 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", str(image)], check=True)
    folder.mkdir()
    mount = ["mount", "-o", "loop,errors=remount-ro", str(image), str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        lack(f"`{shlex.join(mount)}` fails here: {done.stderr.strip()}")
    try:
        monkeypatch.setenv("NAS_STUDIES", str(folder / "studies"))
        words = before_and_after(configure(**SMALL), lambda: _fail_ext4(folder), at_end(1))
        assert "tiny: the file system is read-only; make it writable, and the same" in words
        gc.collect()  # the data that the error's traceback still maps would keep the mount alive
        unmount(folder)
        subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True, check=False)
        subprocess.run(mount, check=True)
        study = nas.search(configure(**SMALL))
        assert results(study) == whole(**SMALL)
        check_sound(study)
    finally:
        unmount(folder)


def _fail_ext4(folder):
    found = subprocess.run(
        ["findmnt", "-n", "-o", "SOURCE", str(folder)], capture_output=True, text=True, check=True
    )
    device = Path(found.stdout.strip()).name
    Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test")


@pytest.mark.slow
def test_command_ends_with_1_and_one_line_and_the_same_command_goes_on(configure, small_disk):
    """Two workers in processes of their own, the disk filled by a third party."""
    # So many that it is far from its end when somebody has read of the second one.
    config = configure(
        executor="processes",
        workers=2,
        per_candidate={"tokens": 20_480, "eta": 1},
        stop={"candidates": 14},
        finalists={"top": 1, "seeds": 1},
        keep=4,
    )
    plain = config.to_plain()
    del plain["latency"], plain["warm_start"]
    import yaml

    file = small_disk.parent / "tiny.yaml"
    file.write_text(yaml.safe_dump(plain, sort_keys=False))
    command = [sys.executable, "-m", "nas", "search", str(file)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    filler = Filler(small_disk)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        for line in running.stdout:
            if line.startswith("#1 "):
                filler.fill()
                break
        _, errors = running.communicate(timeout=300)
    assert running.returncode == 1
    [line] = errors.splitlines()
    assert line.startswith(f"nas: {small_disk / 'studies' / 'tiny'}: the disk is full: ")
    filler.free()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (0, "")
    study = nas.open_study("tiny")
    assert {row.state for row in study.trials(role="search")} <= {"complete", "paused"}
    check_sound_with_paused(study)


def check_sound_with_paused(study):
    """As `check_sound`, but Optuna does not see those that wait."""
    waiting = [row for row in study.trials(role="search") if row.state == "paused"]
    trials = study.optuna_study().get_trials()
    assert {t.state for t in trials} <= {
        optuna.trial.TrialState.COMPLETE,
        optuna.trial.TrialState.PRUNED,
    }
    ids = [t.user_attrs["candidate_id"] for t in trials]
    assert len(ids) == len(set(ids))
    assert len(ids) + len([row for row in waiting if row.checkpoint]) == len(
        study.trials(role="search")
    )
    for row in study.trials():
        if row.model_path:
            nas.load(study.folder / row.model_path, verify=True, device="cpu")


@pytest.mark.slow
def test_search_tells_where_it_lies_before_it_begins(configure, small_disk, monkeypatch):
    """On a network file system; the real one here is said to be one."""
    from nas.driver import filesystem

    events = []
    monkeypatch.setattr(filesystem, "NETWORK", filesystem.NETWORK | {"tmpfs"})
    nas.search(configure(**SMALL), listener=events.append)
    place = [type(event) for event in events].index(SearchStarted)
    [note] = [event.text for event in events[:place] if isinstance(event, Note)]
    assert "tiny lies on a network file system (tmpfs)" in note
    assert "NAS_STUDIES" in note
    assert "PostgreSQL" in note
