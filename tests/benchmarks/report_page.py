"""What a report page weighs and how soon it answers, at 0, 1, 50 and 1,000 candidates.

Studies are made without training (`made_studies.py`). Interactive: the table and the first plots
answer, from the navigation on, in a browser that runs (an empty page leads to ours) and in one that
this page starts (a new Chromium with a new profile, which works on the same cores meanwhile). No
page is opened twice in a browser, so that none finds plotly compiled. Processor: what the page's
main thread had worked by then, in a browser that runs; drawn: the last plot is there, likewise. All
are read from Chromium's own trace. Exit status 1: a page of 5 MB or more, a median of a second or
more to interactive in a browser that runs, or a message in the console.

    python tests/benchmarks/report_page.py [--loads 5] [--candidates 0 1 50 1000]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from browsing import INSTALL, browser, requests_of
from made_studies import make_study
from needs import need_program

from nas.report import write_report

MOST_BYTES, MOST_SECONDS = 5_000_000, 1.0
SECONDS = 10  # that a load is traced
START = 2  # seconds that a browser has for its own start, where it runs before the page is opened


@dataclass(frozen=True)
class Load:
    """One load of a page, in seconds."""

    interactive: float
    processor: float
    drawn: float


def load(page: Path, *, runs: bool) -> Load:
    """Open a page in a browser of its own, which runs before or not; its trace alone looks."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file, first = Path(folder) / "trace.json", Path(folder) / "first.html"
        first.write_text(f'<meta http-equiv="refresh" content="{START};url={page.as_uri()}">')
        command = [
            need_program("chromium", INSTALL), "--headless=new", "--disable-gpu", "--no-sandbox",
            "--no-first-run", f"--user-data-dir={folder}/profile",
            "--trace-startup=blink.user_timing,loading", "--trace-startup-format=json",
            f"--trace-startup-file={file}", f"--trace-startup-duration={SECONDS}",
            (first if runs else page).as_uri(),
        ]  # fmt: skip
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as chromium:
            events = _trace(file)
            chromium.terminate()
    begun = next(
        one["ts"]
        for one in events
        if one["name"] == "navigationStart"
        and one["args"]["data"].get("documentLoaderURL") == page.as_uri()
    )
    marks = {one["name"]: one for one in events if one["name"].startswith("nas-")}
    soon, last = marks["nas-interactive"], marks["nas-drawn"]
    worked = [  # clock of the page's thread, from the navigation on
        one["tts"]
        for one in events
        if one["tid"] == soon["tid"] and one["pid"] == soon["pid"] and "tts" in one
        and begun <= one["ts"] <= soon["ts"]
    ]  # fmt: skip
    return Load(
        interactive=(soon["ts"] - begun) / 1e6,
        processor=(soon["tts"] - min(worked)) / 1e6,
        drawn=(last["ts"] - begun) / 1e6,
    )


def _trace(file: Path) -> list[dict]:
    """Wait for the whole trace and return its events."""
    until = time.monotonic() + 4 * SECONDS
    while time.monotonic() < until:
        time.sleep(0.5)
        with suppress(FileNotFoundError, json.JSONDecodeError):  # it is still being written
            return json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    raise TimeoutError(f"{file}: no trace after {4 * SECONDS} s")


def looked_at(page: Path) -> tuple[int, int]:
    """Return how many messages a page leaves in the console, and how many requests it sends."""
    with browser() as chromium:
        chromium.open(page)
        return len(chromium.console()), len(requests_of(chromium.events()))


def measure(candidates: int, loads: int) -> bool:
    """Print a row for a study of so many candidates, and say whether its page is good enough."""
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder) / "study", candidates=candidates, finished=candidates > 0)
        begun = time.perf_counter()
        page = write_report(study)
        written, size = time.perf_counter() - begun, page.stat().st_size
        found, started = [], []
        for _ in range(loads):
            found.append(load(page, runs=True))
            started.append(load(page, runs=False).interactive)
        messages, requests = looked_at(page)
    soon, worked, drawn = (
        statistics.median(getattr(one, name) for one in found)
        for name in ("interactive", "processor", "drawn")
    )
    print(f"{candidates:>10,}  {size / 1e6:>6.2f}  {written:>7.2f}  {soon:>11.2f}  {worked:>9.2f}"
          f"  {drawn:>5.2f}  {statistics.median(started):>10.2f}  {messages:>8}  {requests:>8}",
          flush=True)  # fmt: skip
    return size < MOST_BYTES and soon < MOST_SECONDS and not messages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--candidates", type=int, nargs="+", default=[0, 1, 50, 1000])
    args = parser.parse_args()
    print("candidates      MB  written  interactive  processor  drawn  with start  messages"
          "  requests\n"
          "                          s            s          s      s           s",
          flush=True)  # fmt: skip
    good = [measure(candidates, args.loads) for candidates in args.candidates]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
