"""What a report page weighs and how soon it answers, at 0, 1, 50 and 1,000 candidates.

Studies are made without training (`made_studies.py`); each page is opened in a fresh Chromium, so
cold, as by a double-click. Interactive: the table and the first plots answer, from the navigation
on; drawn: the last plot is there. Exit status 1: a page of 5 MB or more, a median of a second or
more to interactive, or a message in the console.

    python tests/benchmarks/report_page.py [--loads 5] [--candidates 0 1 50 1000]
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from browsing import browser, requests_of
from made_studies import make_study

from nas.report import write_report

MOST_BYTES, MOST_SECONDS = 5_000_000, 1.0
MARKS = """
const at = name => performance.getEntriesByName(name)[0].startTime / 1000;
return [at('nas-interactive'), performance.now() / 1000];
"""


@dataclass(frozen=True)
class Load:
    """One load of a page."""

    interactive: float  # seconds
    drawn: float
    console: tuple[str, ...]
    requests: int


def load(page: Path) -> Load:
    """Open a page in a browser of its own."""
    with browser() as chromium:
        chromium.open(page)
        interactive, drawn = chromium.run(MARKS)
        return Load(
            interactive, drawn, tuple(chromium.console()), len(requests_of(chromium.events()))
        )


def measure(candidates: int, loads: int) -> bool:
    """Print a row for a study of so many candidates, and say whether its page is good enough."""
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder) / "study", candidates=candidates, finished=candidates > 0)
        begun = time.perf_counter()
        page = write_report(study)
        written, size = time.perf_counter() - begun, page.stat().st_size
        found = [load(page) for _ in range(loads)]
    soon = statistics.median(one.interactive for one in found)
    drawn = statistics.median(one.drawn for one in found)
    messages = sum(len(one.console) for one in found)
    requests = max(one.requests for one in found)
    print(f"{candidates:>10,}  {size / 1e6:>6.2f}  {written:>7.2f}  {soon:>11.2f}  {drawn:>6.2f}"
          f"  {messages:>8}  {requests:>8}", flush=True)  # fmt: skip
    return size < MOST_BYTES and soon < MOST_SECONDS and not messages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--candidates", type=int, nargs="+", default=[0, 1, 50, 1000])
    args = parser.parse_args()
    print("candidates      MB  written  interactive   drawn  messages  requests\n"
          "                     s            s            s", flush=True)  # fmt: skip
    good = [measure(candidates, args.loads) for candidates in args.candidates]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
