"""What a report page weighs and how soon it answers, at 0, 1, 50 and 1,000 candidates.

Studies are made without training (`made_studies.py`); each page is opened in a fresh Chromium, so
cold, as by a double-click. Interactive: the table and the first plots answer, from the navigation
on; processor: what the page's main thread had worked by then, which a busy machine changes less;
drawn: the last plot is there. Exit status 1: a page of 5 MB or more, a median of a second or
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

from browsing import DRAWN, browser, requests_of
from made_studies import make_study

from nas.report import write_report

MOST_BYTES, MOST_SECONDS = 5_000_000, 1.0
ANSWERS = "return (performance.getEntriesByName('nas-interactive')[0]?.startTime ?? 0) / 1000"


@dataclass(frozen=True)
class Load:
    """One load of a page."""

    interactive: float  # seconds
    processor: float
    drawn: float
    console: tuple[str, ...]
    requests: int


def load(page: Path) -> Load:
    """Open a page in a browser of its own."""
    with browser() as chromium:
        chromium.cdp("Performance.enable", timeDomain="threadTicks")
        chromium.open(page, until=ANSWERS)
        metrics = chromium.cdp("Performance.getMetrics")["metrics"]
        worked = next(one["value"] for one in metrics if one["name"] == "ThreadTime")
        chromium.wait(DRAWN)
        return Load(
            interactive=chromium.run(ANSWERS),
            processor=worked,
            drawn=chromium.run("return performance.now() / 1000"),
            console=tuple(chromium.console()),
            requests=len(requests_of(chromium.events())),
        )


def measure(candidates: int, loads: int) -> bool:
    """Print a row for a study of so many candidates, and say whether its page is good enough."""
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder) / "study", candidates=candidates, finished=candidates > 0)
        begun = time.perf_counter()
        page = write_report(study)
        written, size = time.perf_counter() - begun, page.stat().st_size
        found = [load(page) for _ in range(loads)]
    soon, worked, drawn = (
        statistics.median(getattr(one, name) for one in found)
        for name in ("interactive", "processor", "drawn")
    )
    messages = sum(len(one.console) for one in found)
    requests = max(one.requests for one in found)
    print(f"{candidates:>10,}  {size / 1e6:>6.2f}  {written:>7.2f}  {soon:>11.2f}  {worked:>9.2f}"
          f"  {drawn:>5.2f}  {messages:>8}  {requests:>8}", flush=True)  # fmt: skip
    return size < MOST_BYTES and soon < MOST_SECONDS and not messages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--candidates", type=int, nargs="+", default=[0, 1, 50, 1000])
    args = parser.parse_args()
    print("candidates      MB  written  interactive  processor  drawn  messages  requests\n"
          "                          s            s          s      s", flush=True)  # fmt: skip
    good = [measure(candidates, args.loads) for candidates in args.candidates]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
