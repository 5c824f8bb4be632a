"""What the Ray executor does without a cluster: files that travel, folders of nodes, shares."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from needs import need_module

from nas.errors import NasError
from nas.executors import make_executor

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ray is for Linux and macOS here")
if sys.platform != "win32":
    from nas.executors import ray_node
    from nas.executors.ray_cluster import gpu_share
    from nas.executors.ray_files import read_file, read_folder, write_file, write_folder


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def some_files(tmp_path):
    folder = tmp_path / "some"
    (folder / "exports").mkdir(parents=True)
    (folder / "nas.json").write_text("{}")
    (folder / "empty").touch()
    (folder / "exports" / "weights").write_bytes(bytes(range(256)) * 100)
    return folder


def test_a_folder_that_travels_is_the_same_there(some_files, tmp_path):
    before = contents(some_files)
    (some_files / ".seen-by-x").touch()
    files = read_folder(some_files)
    write_folder(tmp_path / "there", files, last="nas.json")
    assert contents(tmp_path / "there") == before
    (tmp_path / "there" / "stale").touch()
    write_folder(tmp_path / "there", files, last="nas.json")
    assert contents(tmp_path / "there") == before, "a folder that is there is replaced"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["some", "there"]


def test_content_outlives_its_file(some_files):
    path = some_files / "exports" / "weights"
    before, content = path.read_bytes(), read_file(path)
    path.unlink()
    assert content.tobytes() == before


def test_a_folder_that_cannot_be_written_leaves_the_old_one(some_files, tmp_path):
    files = read_folder(some_files)
    write_folder(tmp_path / "there", files, last="nas.json")
    before = contents(tmp_path / "there")
    too_long = {**files, "x" * 300: np.zeros(1, dtype=np.uint8)}
    with pytest.raises(OSError, match="too long"):
        write_folder(tmp_path / "there", too_long, last="nas.json")
    with pytest.raises(OSError, match="too long"):
        write_file(tmp_path / ("y" * 300), files["nas.json"])
    assert contents(tmp_path / "there") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["some", "there"]


HOLD = """
import sys
import numpy as np
from nas.executors.ray_node import Held
held = Held("data-1")
def fetch():
    print("fetched", flush=True)
    return {"data.json": np.frombuffer(b"{}", dtype=np.uint8)}
print(held.unpack(fetch, last="data.json"), flush=True)
sys.stdin.readline()
held.close()
"""


@pytest.fixture
def hold(tmp_path, monkeypatch):
    """Starts processes that hold a folder of this node; each ends at a line of input."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    started = []

    def hold():
        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        started.append(subprocess.Popen([sys.executable, "-c", HOLD], text=True, **pipes))
        return started[-1]

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_data_is_unpacked_once_a_node_and_deleted_by_the_last(hold, tmp_path):
    folder = tmp_path / f"nas-{os.getuid()}" / "data-1"
    first = hold()
    assert first.stdout.readline() == "fetched\n"
    assert first.stdout.readline() == f"{folder}\n"
    second = hold()
    assert second.stdout.readline() == f"{folder}\n", "it did not fetch"
    first.communicate("\n")
    assert (folder / "data.json").read_text() == "{}"
    ray_node.delete_leftovers()
    assert folder.exists(), "it is in use"
    second.send_signal(signal.SIGKILL)
    second.wait()
    assert folder.exists()
    ray_node.delete_leftovers()
    assert not folder.exists()


def test_a_folder_that_others_could_have_prepared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    base = tmp_path / f"nas-{os.getuid()}"
    base.mkdir(mode=0o755)
    with pytest.raises(NasError, match=r"expected a folder that only user \d+ can open"):
        ray_node.Held("data-1")
    base.rmdir()
    (tmp_path / "elsewhere").mkdir()
    base.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NasError, match="only user"):
        ray_node.Held("data-1")


def test_a_job_asks_for_the_share_of_a_gpu_that_it_needs():
    big = 80 * 2**30
    assert gpu_share(10 * big, big) == 1.0
    small = gpu_share(2**30, big)
    assert 0.02 < small < 0.03
    assert round(small * 1e4, 6) == int(round(small * 1e4, 6)), "Ray counts ten-thousandths"
    assert gpu_share(0, big) > 0, "a process takes some before it computes"


def test_ray_that_is_not_installed_is_named_with_what_installs_it():
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from nas.executors import make_executor\n"
        "make_executor('ray', workers=1, threads=1, device='cpu', job_bytes=0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "executor ray needs ray; run: pip install 'transformer-nas[ray]'" in run.stderr


def test_an_address_where_no_cluster_is_is_refused_in_a_line(monkeypatch):
    for module in ("ray", "grpc"):
        need_module(module, 'pip install "transformer-nas[ray]"')
    given = {"workers": 1, "threads": 1, "device": "cpu", "job_bytes": 0}
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    for name, address in (("ray", "127.0.0.1:9"), ("ray://127.0.0.1:9", "ray://127.0.0.1:9")):
        with pytest.raises(NasError, match=rf"join the cluster at {address}: .*refused; is it run"):
            make_executor(name, **given)
