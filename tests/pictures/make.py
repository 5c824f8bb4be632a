"""Make the README's pictures: a real search on a real terminal, and the report that it wrote.

    python tests/pictures/make.py [FOLDER] [OPTIONS OF nas search]

Needs Linux or macOS, `chromium` and Pillow (extra `vision`). The search is the shipped quickstart,
some two minutes on an idle machine, in a folder of its own or in FOLDER. Written are `search.svg`
and `report.webp` in `examples/pictures/`.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).parents[2] / "examples" / "pictures"
COLUMNS, ROWS = 100, 60
SHOWN = 16  # lines of the terminal's picture
LARGEST = 300_000  # bytes of a picture
PAGE = (1200, 1500)  # pixels of the browser's window
FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)  # they would be fetched
CODE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Screen:
    """The part of a terminal that redrawn lines need: up, overwritten whole, erased below.

    Attributes:
        lines: What is to be seen, with its colours as escape codes.
    """

    def __init__(self) -> None:
        self.lines = [""]
        self._row, self._at_start = 0, True

    def feed(self, text: str) -> None:
        """Take what a program wrote."""
        for part in filter(None, re.split(r"(\x1b\[[?0-9;]*[A-Za-z]|\r*\n|\r)", text)):
            code = CODE.fullmatch(part)
            if part.endswith(("\n", "\r")) or (code and code[2] == "A"):
                self._move(part, code)
            elif code and code[2] == "J":
                del self.lines[self._row + (not self._at_start) :]
                self.lines += [""] * (self._row + 1 - len(self.lines))
            elif not code or code[2] == "m":
                self.lines[self._row] = part if self._at_start else self.lines[self._row] + part
                self._at_start = False

    def _move(self, part: str, code: re.Match[str] | None) -> None:
        self._at_start = True
        if code:
            self._row = max(0, self._row - int(code[1] or 1))
        elif part.endswith("\n"):
            self._row += 1
            self.lines += [""] * (self._row + 1 - len(self.lines))


def screens(folder: Path, options: list[str]) -> Iterator[Screen]:
    """Run `nas search` on a terminal of its own and yield it after each thing that it writes."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    hidden = ("CI", "NO_COLOR", "NAS_STUDIES", "NAS_DATABASE", "COLUMNS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", "search", *options],
        cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    screen, rest = Screen(), b""
    while written := read(master):
        whole, newline, rest = (rest + written).rpartition(b"\x1b")
        rest = newline + rest
        screen.feed(whole.decode("utf-8", errors="ignore"))
        yield screen
    screen.feed(rest.decode())
    yield screen
    os.close(master)
    assert process.wait() == 0, "\n".join(screen.lines)


def read(terminal: int) -> bytes:
    """Return what is there, nothing at the end; Linux has an error for that."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def picture_of(lines: list[str], path: Path) -> None:
    """Write lines of a terminal as SVG."""
    from rich._export_format import CONSOLE_SVG_FORMAT

    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi("\n".join(lines)), no_wrap=True, overflow="crop")
    svg = console.export_svg(title="nas", code_format=FONTS.sub("", CONSOLE_SVG_FORMAT))
    path.write_text(svg, encoding="utf-8")


def photograph(page: Path, path: Path) -> None:
    """Write the top of a page as a browser shows it."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "no chromium; install it with: apt-get install chromium"
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        subprocess.run(
            [browser, "--headless=new", "--no-sandbox", "--hide-scrollbars", f"--screenshot={shot}",
             f"--window-size={PAGE[0]},{PAGE[1]}", "--virtual-time-budget=10000", page.as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip
        Image.open(shot).convert("RGB").save(path, quality=80, method=6)


def main() -> None:
    """Search, and make both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=None)
    given, options = parser.parse_known_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="nas-pictures-"))
    folder.mkdir(exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    taken: list[str] = []
    for screen in screens(folder.absolute(), options):
        plain = [CODE.sub("", line) for line in screen.lines]
        running = sum("━" in line or "─" in line for line in plain)
        if running == os.cpu_count() and "now the finals" not in " ".join(plain):
            taken = [line for line in screen.lines if line.strip()]
    if taken:  # a search that was finished before has no live lines
        first, latest = taken[:2], taken[2:][-SHOWN:]
        command = shlex.join(["nas", "search", *options])
        picture_of([f"$ {command}", *first, *latest], PICTURES / "search.svg")
    photograph(
        folder.absolute() / "studies" / "quickstart" / "report.html", PICTURES / "report.webp"
    )
    for path in sorted(PICTURES.iterdir()):
        assert path.stat().st_size < LARGEST, path
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
