"""`nas dashboard`: optuna-dashboard on the mirror, for this machine alone and to look at."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote

import pytest
from needs import need_module
from postgres import PASSWORD

import nas as package
from nas.cli.serving import guarded

INSTALL = "pip install 'transformer-nas[dashboard]'"


def test_without_optuna_dashboard_it_says_what_to_install(nas, place, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    found = nas("dashboard", "tiny")
    assert (found.code, found.out) == (2, "")
    assert "run: pip install 'transformer-nas[dashboard]'" in found.err


def test_only_looking_from_this_machine_is_let_through():
    app = guarded(lambda environ, start: [b"shown"], hosts=("127.0.0.1:80", "localhost:80"))

    def ask(method, host):
        return app({"REQUEST_METHOD": method, "HTTP_HOST": host}, lambda *_: None)

    assert ask("GET", "127.0.0.1:80") == ask("HEAD", "localhost:80") == [b"shown"]
    for method, host in (
        ("POST", "127.0.0.1:80"), ("DELETE", "127.0.0.1:80"), ("GET", "evil.example:80"),
        ("GET", None),
    ):  # fmt: skip
        assert ask(method, host) != [b"shown"]


class Server:
    """`nas dashboard` in a process of its own."""

    def __init__(self, study, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nas", "dashboard", study, "--no-browser", "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        self.line = self.process.stdout.readline()
        found = re.search(r"(http://127\.0\.0\.1:(\d+))(/\S+) \(Ctrl-C ends it\)", self.line)
        assert found, self.line + self.process.stderr.read()
        self.root, self.port, self.page = found[1], int(found[2]), found[3]

    def get(self, path, **headers):
        request = urllib.request.Request(self.root + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def refuses(self, path, method, **headers):
        request = urllib.request.Request(self.root + path, method=method, headers=headers)
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request, timeout=30)
        with error.value as answer:
            return answer.code == 403

    def listens_on(self):
        """The addresses, as the system writes them, on which something listens at its port."""
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        lines += Path("/proc/net/tcp6").read_text().splitlines()[1:]
        listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]
        return [one for one in listening if one.endswith(f":{self.port:04X}")]

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, self.line + out, err


@pytest.fixture
def serve():
    need_module("optuna_dashboard", INSTALL)
    servers = []

    def start(study, **environment):
        servers.append(Server(study, **environment))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


@pytest.mark.slow
def test_the_dashboard_shows_the_studys_trials_and_nothing_else_happens(serve, place):
    server = serve("tiny")
    [study] = json.loads(server.get("/api/studies"))["study_summaries"]
    assert study["study_name"] == "tiny"
    assert server.page == f"/dashboard/studies/{study['study_id']}"
    detail = json.loads(server.get(f"/api/studies/{study['study_id']}"))
    rows = package.open_study("tiny").trials(role="search")
    values = sorted(trial["values"][0] for trial in detail["trials"])
    assert values == sorted(row.metrics["val_loss"] for row in rows)
    assert "<html" in server.get(server.page)
    assert server.refuses(f"/api/studies/{study['study_id']}", "DELETE")
    assert server.refuses("/api/studies", "GET", Host="evil.example")
    assert server.listens_on() == [f"0100007F:{server.port:04X}"]
    code, out, err = server.end()
    assert (code, err) == (0, "")
    assert out.endswith("ended\n")
    assert len(package.open_study("tiny").optuna_study().trials) == 3


@pytest.mark.slow
def test_a_servers_password_reaches_neither_processes_nor_output(
    serve, empty_place, postgres_url, monkeypatch
):
    monkeypatch.setenv("NAS_DATABASE", postgres_url.replace("+psycopg", ""))
    package.search("tiny.yaml")
    server = serve("tiny")
    [study] = json.loads(server.get("/api/studies"))["study_summaries"]
    assert study["study_name"] == "tiny"
    line = Path(f"/proc/{server.process.pid}/cmdline").read_bytes().decode()
    code, out, err = server.end()
    assert code == 0
    for text in (line, out, err):
        assert PASSWORD not in unquote(text)


@pytest.mark.slow
def test_a_port_that_is_taken_is_told(serve, place, nas):
    taken = serve("tiny")
    found = nas("dashboard", "tiny", "--no-browser", "--port", taken.port)
    assert found.code == 2
    assert f"port {taken.port}: cannot be listened on" in found.err
