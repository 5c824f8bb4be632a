"""Whoever looks at a study leaves the locks of whoever works on it."""

import subprocess
import sys

import pytest
import sqlalchemy as sa

from nas.store.engine import check_file, make_engine

LEAVE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM t").fetchall()
connection.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="locks of Windows are of a file")
def test_a_second_look_from_the_same_process_drops_no_lock(tmp_path):
    """Else another process that leaves believes to be the last one and deletes the log."""
    url = sa.make_url(f"sqlite:///{tmp_path / 'study.db'}")
    engine = make_engine(url)
    with engine.connect() as held, held.begin():
        held.execute(sa.text("CREATE TABLE t (a INTEGER)"))
        held.execute(sa.text("INSERT INTO t VALUES (1)"))
    with engine.connect() as held:
        held.execute(sa.text("SELECT * FROM t")).all()
        held.rollback()
        check_file(url, create=False)
        subprocess.run([sys.executable, "-c", LEAVE, tmp_path / "study.db"], check=True)
        assert (tmp_path / "study.db-wal").exists()
        with held.begin():
            held.execute(sa.text("INSERT INTO t VALUES (2)"))
        assert held.execute(sa.text("SELECT count(*) FROM t")).scalar() == 2
    engine.dispose()
