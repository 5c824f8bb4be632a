"""Databases that are missing, old, new, foreign or broken."""

import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from nas.errors import InputError, NotFoundError, StoreError
from nas.store import schema
from nas.store.store import Store
from nas.store.tables import SCHEMA_VERSIONS, metadata


def test_schema_versions_are_alembics_chain():
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    revisions = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(r.revision for r in reversed(revisions)) == SCHEMA_VERSIONS


def test_migrating_from_nothing_gives_the_schema_of_a_new_database(store_url):
    engine = sa.create_engine(store_url)
    with engine.begin() as connection:
        schema.upgrade_schema(connection)
    with engine.connect() as connection:
        ours = MigrationContext.configure(
            connection,
            opts={
                "version_table": schema.VERSION_TABLE,
                "compare_type": True,
                "include_object": lambda thing, name, kind, *_: not name.startswith("sqlite_"),
            },
        )
        assert compare_metadata(ours, metadata) == []
        migrated = sa.inspect(connection)
        view = migrated.get_view_definition("nas_leaderboard")
        keys = {t: migrated.get_foreign_keys(t) for t in metadata.tables}
    with engine.begin() as connection:
        command.downgrade(_config(connection), "base")
        connection.execute(sa.text(f"DROP TABLE {schema.VERSION_TABLE}"))
        schema.create_schema(connection)
    with engine.connect() as connection:
        created = sa.inspect(connection)
        assert created.get_view_definition("nas_leaderboard") == view
        assert {t: created.get_foreign_keys(t) for t in metadata.tables} == keys
    engine.dispose()


def _config(connection):
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _set_version(url, statement):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def test_older_database_is_upgraded_when_opened(store_url, build):
    Store.open(store_url, create=True).close()
    engine = sa.create_engine(store_url)
    with engine.begin() as connection:
        command.downgrade(_config(connection), "base")
    engine.dispose()
    with Store.open(store_url, create=True) as store:
        assert store.studies() == []
        build.study(store)
    with Store.open(store_url) as store:
        assert store.studies() == ["tiny"]


def test_studies_of_the_first_schema_are_kept(store_url, build):
    with Store.open(store_url, create=True) as store:
        build.add(store, build.study(store), build.candidate())
    engine = sa.create_engine(store_url)
    with engine.begin() as connection:
        command.downgrade(_config(connection), "0001")
        assert "nas_enqueued" not in sa.inspect(connection).get_table_names()
    engine.dispose()
    assert Store.upgrade(store_url) == ("0001", SCHEMA_VERSIONS[-1])
    assert Store.upgrade(store_url) == (SCHEMA_VERSIONS[-1], SCHEMA_VERSIONS[-1])
    with Store.open(store_url) as store:
        study = store.study("tiny")
        assert study.pace is None
        assert [row.candidate_id for row in store.rows(study)] == [build.candidate().id]
        store.enqueue(study, build.candidate(n_layer=3).architecture)
        assert len(store.enqueued(study)) == 1


def test_newer_database_is_refused_untouched(store_url):
    Store.open(store_url, create=True).close()
    _set_version(store_url, "UPDATE nas_alembic_version SET version_num = '9999'")
    for attempt in (Store.open, Store.open, Store.upgrade):
        with pytest.raises(StoreError, match=r"newer nas \(schema 9999.*pip install -U transf"):
            attempt(store_url)


@pytest.mark.slow
def test_older_database_of_a_server_is_not_upgraded_by_who_only_reads(postgres_url, build):
    with Store.open(postgres_url, create=True) as store:
        build.study(store)
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        command.downgrade(_config(connection), "0003")
    with pytest.raises(StoreError, match=r"has schema 0003.*nas db upgrade 'postgresql://nas@1"):
        Store.open(postgres_url)
    with engine.connect() as connection:
        assert "owner" not in {c["name"] for c in sa.inspect(connection).get_columns("nas_study")}
    engine.dispose()
    Store.upgrade(postgres_url)
    with Store.open(postgres_url) as store:
        assert store.studies() == ["tiny"]


@pytest.mark.slow
def test_processes_that_open_a_new_database_at_once_make_it_once(postgres_url):
    code = "import sys; from nas.store.store import Store; Store.open(sys.argv[1], create=True)"
    command_line = [sys.executable, "-c", code, postgres_url]
    openers = [subprocess.Popen(command_line, stderr=subprocess.PIPE) for _ in range(4)]
    assert [opener.communicate()[1] for opener in openers] == [b""] * 4
    with Store.open(postgres_url) as store:
        assert store.studies() == []


def test_database_of_optuna_alone_gets_our_tables_beside(store_url):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(store_url, engine_kwargs={"poolclass": sa.NullPool})
    optuna.create_study(study_name="theirs", storage=storage)
    with pytest.raises(NotFoundError, match="without studies of nas"):
        Store.open(store_url)
    with Store.open(store_url, create=True) as store:
        assert store.studies() == []
    assert optuna.load_study(study_name="theirs", storage=storage).trials == []


def test_sqlite_database_has_wal_and_foreign_keys(tmp_path, build):
    with Store.open(tmp_path / "new" / "study.db", create=True) as store:
        study = build.study(store)
        build.add(store, study, build.candidate())
        with store._read() as connection:
            pragma = {p: connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in PRAGMAS}
    assert pragma == PRAGMAS


PRAGMAS = {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 30_000}


def test_missing_database_is_not_made_unasked(tmp_path):
    with pytest.raises(NotFoundError, match=r"gone\.db: no such study database"):
        Store.open(tmp_path / "gone.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [False, True])
def test_file_that_is_no_database_is_refused_in_one_line(tmp_path, create):
    file = tmp_path / "notes.txt"
    file.write_text("not a database at all, but long enough to have a header" * 4)
    with pytest.raises(InputError, match=r"notes\.txt: is no SQLite file; give a study") as e:
        Store.open(file, create=create)
    assert "\n" not in str(e.value)
    assert file.read_text().startswith("not a database")


def test_truncated_database_is_refused_in_one_line(tmp_path, build):
    file = tmp_path / "study.db"
    with Store.open(file, create=True) as store:
        build.study(store)
    file.write_bytes(file.read_bytes()[:6000])
    with pytest.raises(StoreError, match=r"study\.db: .*damaged"), Store.open(file) as store:
        store.study("tiny")


def test_empty_file_holds_no_studies(tmp_path):
    (tmp_path / "study.db").touch()
    with pytest.raises(NotFoundError, match="without studies of nas"):
        Store.open(tmp_path / "study.db")


def test_folder_in_place_of_a_database_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"is no file; give a study folder or its study\.db"):
        Store.open(tmp_path, create=True)


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file: cannot be made"):
        Store.open(tmp_path / "file" / "study.db", create=True)


def test_locked_database_says_who_holds_it(tmp_path, build, monkeypatch):
    monkeypatch.setattr("nas.store.engine.BUSY_SECONDS", 0.05)
    with Store.open(tmp_path / "study.db", create=True) as store:
        other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked; another process is writing"):
            build.study(store)
        other.execute("ROLLBACK")
        other.close()
        build.study(store)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:secret@h/db", "got kind 'mysql', expected sqlite or postgresql"),
        ("sqlite://", "a study needs a file"),
        ("sqlite:///:memory:", "a study needs a file"),
        ("postgresql://u:secret@h:port/db", "malformed database URL"),
        ("postgresql://u:se@cret@h/db", "write @ in a password as %40"),
        ("postgresql+psycopg2://u:secret@h/db", "got driver 'psycopg2'; leave it out"),
    ],
)
def test_impossible_url_is_refused_without_its_password(url, message):
    with pytest.raises(InputError, match=message) as error:
        Store.open(url)
    assert "secret" not in str(error.value)


def test_unreachable_server_is_reported_without_the_password():
    url = "postgresql://user:secret@127.0.0.1:1/db?sslpassword=secret&connect_timeout=1"
    with pytest.raises(StoreError, match=r"postgresql://user:\*\*\*@127.0.0.1:1/db") as error:
        Store.open(url)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
