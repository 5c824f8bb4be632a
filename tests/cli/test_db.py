"""`nas db`, and databases on the command line: what is wrong is said, what is secret is not."""

import json
import re
import shutil
import sqlite3

import pytest
from needs import need_module

from nas.store.environment import without_database
from nas.store.tables import SCHEMA_VERSIONS
from nas.study import open_study

SECRET = "hush-17"
SERVER = f"postgresql://me:{SECRET}@127.0.0.1:1/nas"


def results(nas, *arguments):
    found = nas("db", "check", *arguments, "--format", "json")
    rows = {row["check"]: row for row in json.loads(found.out)}
    assert found.code == int(any(row["result"] == "wrong" for row in rows.values()))
    return rows


def test_a_study_as_a_search_leaves_it_is_fine(nas, place):
    found = results(nas)
    assert list(found) == [
        "reachable", "schema", "integrity", "references", "records", "measurements", "models",
        "checkpoints", "mirror",
    ]  # fmt: skip
    assert {row["result"] for row in found.values()} == {"ok"}
    assert found["reachable"]["found"].startswith("SQLite 3.")
    assert found["schema"]["found"] == SCHEMA_VERSIONS[-1]
    table = nas("db", "check", "studies/tiny")
    assert table.code == 0
    assert re.match(r"reachable +ok: SQLite 3", table.out)
    assert "\nstudy tiny\n" in table.out
    assert results(nas, f"sqlite:///{place}/studies/tiny/study.db").keys() == found.keys()
    said = nas("db", "upgrade", "tiny")
    assert (said.code, said.out) == (
        0,
        f"{place}/studies/tiny/study.db: has schema {SCHEMA_VERSIONS[-1]} already, which this nas "
        "reads\n",
    )


def test_what_is_wrong_is_found_and_left_as_it_is(nas, own_place):
    study = open_study("tiny")
    kept = [row for row in study.trials() if row.model_path]
    shutil.rmtree(study.folder / kept[0].model_path)
    (study.folder / kept[1].model_path / "model.safetensors").write_bytes(b"short")
    left = next(row.checkpoint for row in study.trials() if row.checkpoint)
    (study.folder / left.uri).unlink()
    file = study.folder / "study.db"
    with sqlite3.connect(file) as database:
        database.execute("UPDATE nas_evaluation SET tokens = tokens + 1 WHERE rung = 0")
        database.execute("UPDATE nas_candidate SET seed = 99 WHERE number = 1 AND role = 'search'")
        database.execute("DELETE FROM nas_metric WHERE candidate_id = ?", (kept[0].candidate_id,))
        database.execute("DELETE FROM nas_architecture WHERE architecture_id = 'x'")
        database.execute("DELETE FROM trial_user_attributes WHERE trial_id = 1")
    database.close()
    before = file.read_bytes()
    found = results(nas, "tiny")
    wrong = {name for name, row in found.items() if row["result"] == "wrong"}
    assert wrong == {"records", "measurements", "models", "checkpoints", "mirror"}
    assert kept[0].candidate_id in found["models"]["found"]
    assert "has 5 bytes" in found["models"]["found"]
    assert file.read_bytes() == before


def test_rows_without_what_they_name_are_found(nas, own_place):
    with sqlite3.connect("studies/tiny/study.db") as database:  # without foreign keys
        database.execute("DELETE FROM nas_candidate WHERE number = 1")
    database.close()
    found = results(nas, "tiny")
    assert "nas_evaluation without their nas_candidate" in found["references"]["found"]


def test_damaged_file_is_wrong_and_no_traceback(nas, own_place):
    file = own_place / "studies" / "tiny" / "study.db"
    content = bytearray(file.read_bytes())
    content[4096 : 4096 * 3] = bytes(4096 * 2)
    file.write_bytes(content)
    found = nas("db", "check", "tiny")
    assert found.code == 1
    assert "wrong:" in found.out
    assert "the file is damaged" in " ".join(found.out.split())
    assert found.err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "tiny.yaml", "--database", SERVER),
        ("search", "tiny.yaml", f"--database={SERVER}"),
        ("search", "tiny.yaml", "--set", f"database={SERVER}"),
        ("search", "tiny.yaml", "--database", f"postgresql://me@host/nas?password={SECRET}"),
        ("search", "tiny.yaml", "--database", f"postgresql://me@host/nas?sslpassword={SECRET}"),
        ("trials", f"{SERVER}#tiny"),
        ("db", "check", SERVER.replace("postgresql:", "postgres:")),
        ("rm", f"{SERVER}#tiny", "--yes"),
    ],
)
def test_password_on_the_command_line_is_refused_unread(nas, empty_place, arguments):
    found = nas(*arguments)
    assert found.code == 2
    assert found.out == ""
    assert "with a password, which others could read there; leave it out and set NAS" in found.err
    assert len(found.err.splitlines()) == 1
    assert SECRET not in found.err
    assert not (empty_place / "studies").exists()


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ("mysql://me:hush-17@host/nas", "database: database URL: got kind 'mysql'"),
        ("sqlite:///study.db", "database: expected postgresql://USER@HOST/DATABASE"),
        ("nas", "database: expected postgresql://USER@HOST/DATABASE"),
    ],
)
def test_what_is_no_server_is_refused(nas, empty_place, database, words):
    found = nas("search", "tiny.yaml", "--database", database)
    assert found.code == 2
    assert words in found.err
    assert SECRET not in found.err


def test_server_that_is_not_there_is_said_in_a_line_without_its_password(
    nas, empty_place, monkeypatch
):
    need_module("psycopg", 'pip install "transformer-nas[postgresql]"')
    monkeypatch.setenv("NAS_DATABASE", SERVER)
    found = nas("search", "tiny.yaml")
    assert found.code == 1
    assert "postgresql://me:***@127.0.0.1:1/nas: " in found.err
    assert "is the server running" in found.err
    assert len(found.err.splitlines()) == 1
    assert SECRET not in found.err
    assert not (empty_place / "studies" / "tiny").exists()
    checked = nas("db", "check", "postgresql://me@127.0.0.1:1/nas")
    assert checked.code == 1
    assert "reachable" in checked.out
    assert SECRET not in checked.out


def test_workers_inherit_nothing_that_leads_to_a_database():
    given = {
        "PATH": "/bin", "NAS_DATABASE": SERVER, "PGPASSWORD": SECRET, "PGPASSFILE": "/x",
        "PGSERVICE": "x", "DATABASE_URL": f"postgres+psycopg://{SECRET}", "NAS_STUDIES": "s",
        "PGM_VIEWER": "eog",
    }  # fmt: skip
    assert without_database(given) == {"PATH": "/bin", "NAS_STUDIES": "s", "PGM_VIEWER": "eog"}
