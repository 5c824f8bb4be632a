"""A PostgreSQL server of the tests' own: a folder, a port and a password, and it can be killed."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import quote

from needs import lack, need_module

# Characters that a URL has to escape, so that a part of it would be found too.
PASSWORD = "Geh@im-17/x%"
START_SECONDS = 60.0
INSTALL = "apt-get install postgresql"


def programs() -> Path:
    """Return the folder of the server's programs; without them skip the test, or fail under CI."""
    need_module("psycopg", 'pip install "transformer-nas[postgresql]"')
    known = shutil.which("initdb")
    if known:
        return Path(known).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else lack(f"no PostgreSQL server; install it with: {INSTALL}")


class Server:
    """A server; nothing of it is left after `close`."""

    def __init__(self) -> None:
        self._programs = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="nas-postgres-"))
        self._user = _unprivileged()
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        for path in (self._folder, secret):
            shutil.chown(path, self._user)
        try:
            self._run(
                "initdb", "-D", "data", "-U", "nas", "-A", "scram-sha-256",
                "--pwfile", "password", "-E", "UTF8", "--no-locale", "--no-sync",
            )  # fmt: skip
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it and wait until it answers; it recovers by itself from however it ended."""
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(
            [
                self._programs / "postgres", "-D", "data", "-p", str(self.port), "-k", self._folder,
                "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
            ],
            stdout=log, stderr=log, **self._as_user(),
        )  # fmt: skip
        log.close()
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it: by default at once, as `pg_ctl stop -m immediate` does; SIGINT is `-m fast`."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(START_SECONDS)
        self._process = None

    def close(self) -> None:
        """Stop it and delete its folder."""
        if self._process is not None:
            self.stop()
        shutil.rmtree(self._folder)

    def url(self, database: str, *, password: str | None = PASSWORD) -> str:
        """Return the URL of a database; the password is escaped in it."""
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql://nas{secret}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement outside a transaction and return its rows."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def new_database(self) -> str:
        """Make a database and return its name."""
        name = f"nas_{uuid.uuid4().hex[:8]}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, database: str) -> None:
        """Delete a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def dump(self, database: str) -> str:
        """Return all that a database holds, as SQL."""
        return self._run("pg_dump", "-h", "127.0.0.1", "-p", str(self.port), "-U", "nas", database)

    def _answers(self) -> bool:
        command = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True, text=True, check=False, **self._as_user(),
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout

    def _as_user(self) -> dict[str, object]:
        """Return how a program is started: in the server's folder, and never as root."""
        environment = {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"}
        started = {"cwd": self._folder, "env": environment, "start_new_session": True}
        if os.geteuid() == 0:
            group = pwd.getpwnam(self._user).pw_gid
            started |= {"user": self._user, "group": group, "extra_groups": []}
        return started


def _unprivileged() -> str:
    """Return the user that the server runs as: it refuses to be root."""
    if os.geteuid():
        return getpass.getuser()
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return lack("no user 'postgres' to run a server as; install one with: " + INSTALL)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
