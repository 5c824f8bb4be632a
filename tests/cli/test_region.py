"""Lines that are redrawn in place, on a terminal made here that knows the few codes they use."""

import io
import re
import sys

import pytest

from nas.cli.region import HIDE, SHOW, Region

CODE = re.compile("\x1b\\[(\\??[0-9]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Terminal(io.StringIO):
    """Rows of text and a cursor; lines never reach the right edge here."""

    def __init__(self):
        super().__init__()
        self.rows, self.row, self.column = [""], 0, 0
        self.writes = 0

    def isatty(self):
        return True

    def write(self, text):
        self.writes += 1
        for number, code, control, plain in CODE.findall(text):
            if control == "\r":
                self.column = 0
            elif control == "\n":
                self.row, self.column = self.row + 1, 0
                self.rows += [""] * (self.row + 1 - len(self.rows))
            elif code == "A":
                self.row -= int(number)
                assert self.row >= 0
            elif code == "K":
                self.rows[self.row] = self.rows[self.row][: self.column]
            elif code == "J":
                self.rows[self.row :] = [self.rows[self.row][: self.column]]
            elif plain:
                line = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = line[: self.column] + plain + line[self.column + len(plain) :]
                self.column += len(plain)
        return len(text)


@pytest.fixture
def terminal():
    return Terminal()


def test_lines_are_drawn_over_and_others_stay_above(terminal):
    with Region(lambda: 80, terminal) as region:
        region.draw(["one long line", "two"])
        region.draw(["one", "two", "three"])
        assert terminal.rows == ["one", "two", "three"]
        region.above("it ended\nwith two lines", ["two"])
        region.above("more")
        assert terminal.rows == ["it ended", "with two lines", "more", "two"]
        region.draw([])
        region.above("last")
    assert terminal.rows == ["it ended", "with two lines", "more", "last", ""]
    assert terminal.column == 0


def test_a_frame_is_one_write_and_an_equal_one_none(terminal):
    with Region(lambda: 80, terminal) as region:
        region.draw(["a", "b"])
        before = terminal.writes
        region.draw(["a", "c"])
        assert terminal.writes == before + 1
        region.draw(["a", "c"])
        assert terminal.writes == before + 1


def test_a_narrower_window_has_broken_the_lines_into_more_rows():
    stream, width = io.StringIO(), [80]
    with Region(lambda: width[0], stream) as region:
        region.draw(["x" * 79, "\x1b[36m" + "y" * 30 + "\x1b[39m"])
        width[0] = 40
        stream.truncate(0)
        region.draw(["x" * 39, "y" * 30])
        assert "\x1b[2A" in stream.getvalue()  # rows of 40, 39 and 30: up from the third


def test_the_cursor_comes_back_however_it_ends():
    stream = io.StringIO()

    def leave():
        with Region(lambda: 80, stream) as region:
            region.draw(["a"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert stream.getvalue().startswith(HIDE)
    assert stream.getvalue().endswith(SHOW)


def test_standard_error_goes_above_the_lines(terminal, monkeypatch):
    errors = Terminal()
    monkeypatch.setattr(sys, "stderr", errors)
    with Region(lambda: 80, terminal) as region:
        region.draw(["line"])
        print("a warning", file=sys.stderr)
        print("\x1b[2J and its end", end="", file=sys.stderr)
        assert terminal.rows == ["a warning", "line"]
    assert terminal.rows == ["a warning", "\\x1b[2J and its end", ""]
    assert sys.stderr is errors
    assert errors.rows == [""]


def test_a_terminal_that_is_gone_ends_nothing():
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    with Region(lambda: 80, Gone()) as region:
        region.draw(["a"])
        region.above("b")
