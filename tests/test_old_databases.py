"""Databases of older schemas: upgraded, asked and loaded from (see `fixtures/make_database`)."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import nas
from nas.cli import main
from nas.store import schema
from nas.store.store import Store
from nas.store.tables import SCHEMA_VERSIONS

FIXTURES = Path(__file__).parent / "fixtures"
FIRST = (FIXTURES / "schema_0001.sql").read_text(encoding="utf-8")
SHAPE = {"d_ff": 12, "d_model": 8, "n_head": 2, "n_kv_head": 1, "n_layer": 2, "tied": False}


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A study's folder of the first schema, with the model of its best candidate."""
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path))
    folder = tmp_path / "old"
    folder.mkdir()
    with sqlite3.connect(folder / "study.db") as database:
        database.executescript(FIRST)
        [[path]] = database.execute("SELECT path FROM nas_model")
    database.close()
    shutil.copytree(FIXTURES / "format_1" / "llama", folder / path)
    return folder


def answers(study):
    """What the study says, whichever database it is in."""
    rows = study.trials()
    assert [(row.state, row.metrics.get("val_loss")) for row in rows] == [
        ("complete", 2.5), ("paused", 3.5), ("failed", None),
    ]  # fmt: skip
    assert dict(study.best().shape) == SHAPE
    assert rows[2].error == "ValueError: it's broken"
    assert rows[2].shape["d_ff"] == (12, 16)
    assert [row.candidate.id for row in rows] == [row.candidate_id for row in rows]
    own = [e.evaluation for e in study.evaluations(rows[0].candidate_id)]
    assert [(e.rung, e.tokens, e.curve) for e in own] == [
        (0, 480, ((240, 4.0), (480, 3.0))), (1, 960, ((240, 4.0), (960, 2.5))),
    ]  # fmt: skip


def test_study_of_the_first_schema_is_upgraded_asked_and_loaded(old, capsys):
    assert main(["db", "check", "old"]) == 1
    assert "schema wrong: 0001, of an older nas; upgrade to" in " ".join(
        capsys.readouterr().out.split()
    )
    assert main(["db", "upgrade", "old"]) == 0
    newest = SCHEMA_VERSIONS[-1]
    said = f"{old}/study.db: upgraded from schema 0001 to {newest}"
    assert said in capsys.readouterr().out
    assert main(["db", "upgrade", str(old)]) == 0
    assert f"has schema {newest} already" in capsys.readouterr().out
    answers(nas.open_study("old"))
    model = nas.load("old", verify=True)
    assert dict(model.architecture.shape) == SHAPE


def test_any_question_upgrades_a_file(old):
    answers(nas.open_study(old))


def test_what_the_first_schema_counted_otherwise_adds_up_after_the_upgrade(old, capsys):
    assert main(["db", "upgrade", "old"]) == 0
    capsys.readouterr()
    assert main(["db", "check", "old", "--format", "json"]) == 1
    found = {row["check"]: row["result"] for row in json.loads(capsys.readouterr().out)}
    wrong = [name for name, result in found.items() if result == "wrong"]
    assert wrong == ["mirror"], "nothing was mirrored then; the next search does it"
    assert {"reachable", "schema", "integrity", "references", "measurements", "models"} < set(found)


def test_database_of_a_newer_nas_is_refused_in_one_line(old, capsys):
    Store.upgrade(old / "study.db")
    with sqlite3.connect(old / "study.db") as database:
        database.execute("UPDATE nas_alembic_version SET version_num = '0999'")
    database.close()
    for arguments in (["trials", "old"], ["db", "upgrade", "old"]):
        assert main(arguments) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert "written by a newer nas (schema 0999" in line
    assert main(["db", "check", "old"]) == 1
    assert "wrong: " in (said := " ".join(capsys.readouterr().out.split()))
    assert "written by a newer nas" in said


@pytest.mark.slow
def test_first_schema_on_a_server_is_upgraded_and_asked(postgres_url, capsys):
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(schema.MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for line in FIRST.splitlines():
            if line.startswith("INSERT") and "alembic" not in line:
                connection.execute(sa.text("SET session_replication_role = replica"))
                connection.exec_driver_sql(line.replace("%", "%%"))
    engine.dispose()
    assert Store.upgrade(postgres_url) == ("0001", SCHEMA_VERSIONS[-1])
    answers(nas.open_study(f"{postgres_url}#old"))
