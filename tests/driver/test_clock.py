"""The wall clock may jump while a search runs: nothing is measured by it."""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from needs import lack, need_program
from tiny_study import MANY

import nas
from nas.store import writes

REPOSITORY = Path(__file__).parents[2]
DAY = 86_400

# Sets the clock after the first candidate, as the file says that libfaketime reads.
SCRIPT = """
import json, sys, time
from pathlib import Path
import nas
from nas.config import config_from_plain
from nas.driver.events import CandidateEnded
jumps, file = json.loads(sys.argv[2]), Path(sys.argv[3])
seen = []
def show(event):
    if isinstance(event, CandidateEnded):
        seen.append((time.time(), time.monotonic()))
        if jumps:
            file.write_text(jumps.pop(0))
study = nas.search(
    config_from_plain(json.loads(sys.argv[1]), where="test", name="tiny"), listener=show
)
print(json.dumps({"seen": seen, "elapsed": study.summary()["elapsed_seconds"]}))
"""


def library():
    need_program("faketime", "apt-get install -y faketime")
    found = sorted(Path("/usr/lib").glob("**/libfaketimeMT.so.1"))
    return str(found[0]) if found else lack("no libfaketimeMT.so.1; apt-get install -y faketime")


def search_with_jumps(config, tmp_path, jumps):
    """Search in a process whose wall clock jumps when candidates end."""
    file = tmp_path / "offset"
    file.write_text("+0")
    plain = config.to_plain()
    del plain["latency"], plain["warm_start"], plain["workers"]
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "LD_PRELOAD": library(),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",  # as older versions call it
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(plain), json.dumps(jumps), str(file)],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), time.monotonic() - begun


FEW = {
    "per_candidate": {"tokens": 2048, "eta": 1},
    "stop": {"candidates": 4},
    "finalists": {"top": 0},
}


@pytest.mark.slow
@pytest.mark.parametrize("jumps", [["-1d"], ["+1d"], ["-1d", "+1d", "-2d"]], ids=" ".join)
def test_clock_that_jumps_by_days_changes_no_result(configure, tmp_path, jumps):
    expected = sorted(
        (row.number, row.candidate_id, row.metrics["val_loss"])
        for row in nas.search(configure("whole", **FEW)).trials()
    )
    found, seconds = search_with_jumps(configure(**FEW), tmp_path, jumps)
    walls = [wall for wall, _ in found["seen"]]
    assert max(abs(b - a) for a, b in pairwise(walls)) > 0.9 * DAY, "it jumped"
    assert 0 < found["elapsed"] < seconds
    study = nas.open_study("tiny")
    rows = study.trials()
    assert expected == sorted((r.number, r.candidate_id, r.metrics["val_loss"]) for r in rows)
    assert all(row.finished_at >= row.created_at for row in rows)
    assert all(0 <= row.seconds < seconds for row in rows)
    for trial in study.optuna_study().get_trials():
        assert trial.datetime_complete >= trial.datetime_start
    # Here the clock is right again.
    more = nas.search(configure(**{**FEW, "stop": {"candidates": 6}}))
    assert [row.number for row in more.trials(role="search", sort="number")] == list(range(6))


@pytest.mark.slow
@pytest.mark.parametrize("jump", ["+1d", "-1d"])
def test_limit_of_minutes_holds_whatever_the_clock_says(configure, tmp_path, jump):
    limits = {"stop": {"minutes": 0.25}, "finalists": {"top": 0}, "space": MANY}
    found, seconds = search_with_jumps(configure(**limits), tmp_path, [jump])
    assert seconds < 150, "15 s, and what it takes to begin and to end"
    assert found["elapsed"] == pytest.approx(15, abs=4)
    assert len(found["seen"]) > 1, "a clock that went on a day did not end it"


def test_nothing_ends_before_it_begins_where_the_clock_is_set_back(configure, monkeypatch):
    """Each writing is a day before the one before it."""
    begun, count = writes.now(), iter(range(10_000))
    monkeypatch.setattr(writes, "now", lambda: begun - timedelta(days=next(count)))
    study = nas.search(configure(stop={"candidates": 2}, finalists={"top": 0}))
    rows = study.trials(sort="number")
    assert rows[0].created_at > rows[1].created_at, "it was set back"
    assert [row.finished_at for row in rows] == [row.created_at for row in rows]
    for trial in study.optuna_study().get_trials():
        assert trial.datetime_complete == trial.datetime_start


def test_no_module_measures_by_the_wall_clock():
    """Only what is written down as a date asks for it."""
    asks = ("time.time(", "datetime.now(", "datetime.utcnow(", "time.localtime(", "st_mtime")
    found = {
        path.relative_to(REPOSITORY / "nas").as_posix()
        for path in (REPOSITORY / "nas").rglob("*.py")
        if any(one in path.read_text(encoding="utf-8") for one in asks)
    }
    dates = {
        "artifact/writing.py",
        "driver/claim.py",
        "driver/onlooking.py",
        "driver/owner.py",
        "exporters/placing.py",
        "loggers/mlflow.py",
        "loggers/tensorboard.py",
        "store/lease.py",
        "store/writes.py",
    }
    # Which study was written last, and what a killed writer left: of files' own dates, compared.
    files = {"places.py", "report/__init__.py"}
    assert found <= dates | files
