"""The small language of `--where`: an expression over columns, parsed to a tree.

    val_loss < 2 and (params <= 1e6 or n_layer in (2, 4)) and not state == 'failed'
    test_loss is not null

It knows `and`, `or`, `not`, parentheses, `== != < <= > >=`, `in (...)`, `is null`, numbers,
quoted text, `true` and `false`, and columns. Nothing is evaluated as Python or pasted into SQL.
An empty cell makes a comparison false. A per-layer field obeys if it does so in every layer.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import Any, Protocol

from nas.errors import InputError, nearest
from nas.store.rows import Cell

MAX_LENGTH = 2_000  # characters
MAX_DEPTH = 50  # nested parentheses and nots

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
WORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.]))
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<text>'[^']*'|"[^"]*")
      | (?P<sign>==|!=|<=|>=|[<>=(),])
    )""",
    re.VERBOSE,
)

Row = Mapping[str, Cell]


class Predicate(Protocol):
    """A parsed expression: call it with a flat row.

    Raises:
        InputError: If it compares a text with a number.
    """

    def __call__(self, row: Row) -> bool:
        """Say whether the row obeys."""
        ...


def parse_where(text: str, columns: Collection[str]) -> Predicate:
    """Parse an expression over `columns`.

    Raises:
        InputError: If it is no expression, names an unknown column, is too long or too deep.
    """
    if len(text) > MAX_LENGTH:
        raise InputError(f"where: {len(text)} characters, at most {MAX_LENGTH} are allowed")
    parser = _Parser(_tokens(text), columns)
    tree = parser.expression()
    parser.expect("end")
    return tree


@dataclass(frozen=True, kw_only=True, slots=True)
class _Token:
    kind: str  # number, text, name, word, sign or end
    text: str
    at: int  # counted from 1

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise InputError(
                f"where: at character {at + 1}: got {text[at]!r}, expected a column, an operator, "
                "a number or quoted text"
            )
        kind, found = str(match.lastgroup), match[str(match.lastgroup)]
        if kind == "name" and found.lower() in WORDS:
            kind, found = "word", found.lower()
        tokens.append(_Token(kind=kind, text=found, at=match.start(str(match.lastgroup)) + 1))
        at = match.end()
    return [*tokens, _Token(kind="end", text="", at=end + 1)]


class _Parser:
    """Recursive descent, one method a rule; `or` binds loosest, then `and`, then `not`."""

    def __init__(self, tokens: list[_Token], columns: Collection[str]) -> None:
        self._tokens = tokens
        self._columns = columns
        self._next = 0
        self._depth = 0

    def expression(self) -> Predicate:
        parts = [self._conjunction()]
        while self._take("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else _Any(parts=tuple(parts))

    def expect(self, what: str) -> _Token:
        """Return the next token, which must be of this text or kind."""
        token = self._tokens[self._next]
        if what not in (token.kind, token.text) or (token.kind == "text" and what != "text"):
            raise self._wrong(token, {"end": "'and', 'or' or the end"}.get(what, repr(what)))
        self._next += 1
        return token

    def _conjunction(self) -> Predicate:
        parts = [self._negation()]
        while self._take("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else _All(parts=tuple(parts))

    def _negation(self) -> Predicate:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InputError(f"where: nested deeper than {MAX_DEPTH} levels")
        if self._take("not"):
            tree: Predicate = _Not(part=self._negation())
        elif self._take("("):
            tree = self.expression()
            self.expect(")")
        else:
            tree = self._comparison()
        self._depth -= 1
        return tree

    def _comparison(self) -> Predicate:
        left = self._operand()
        sign = self._tokens[self._next]
        if sign.kind == "sign" and sign.text in OPERATORS:
            self._next += 1
            tree = _Comparison(left=left, sign=sign.text, right=self._operand())
            self._refuse_chain()
            return tree
        if self._take("is"):
            negated = self._take("not")
            self.expect("null")
            return _negated(_IsNull(operand=left), negated)
        negated = self._take("not")
        if not self._take("in"):
            raise self._wrong(sign, "a comparison, 'in' or 'is null'")
        return _negated(_In(left=left, choices=self._choices()), negated)

    def _choices(self) -> tuple[_Operand, ...]:
        self.expect("(")
        choices = [self._operand()]
        while self._take(","):
            choices.append(self._operand())
        self.expect(")")
        return tuple(choices)

    def _operand(self) -> _Operand:
        token = self._tokens[self._next]
        if token.kind not in ("number", "text", "name") and token.text not in ("true", "false"):
            raise self._wrong(token, "a column, a number or quoted text")
        self._next += 1
        if token.kind == "name":
            return self._column(token)
        return _Operand(name=token.text, column=False, value=_literal(token))

    def _column(self, token: _Token) -> _Operand:
        if token.text not in self._columns:
            hint = nearest(token.text, self._columns)
            hint = hint or "; text needs quotes; nas show lists the columns"
            raise InputError(f"where: at character {token.at}: unknown column '{token.text}'{hint}")
        return _Operand(name=token.text, column=True, value=None)

    def _refuse_chain(self) -> None:
        token = self._tokens[self._next]
        if token.kind == "sign" and token.text in OPERATORS:
            raise self._wrong(token, "'and' between two comparisons")

    def _take(self, text: str) -> bool:
        token = self._tokens[self._next]
        found = token.kind in ("word", "sign") and token.text == text
        self._next += found
        return found

    def _wrong(self, token: _Token, expected: str) -> InputError:
        return InputError(f"where: at character {token.at}: got {token}, expected {expected}")


def _literal(token: _Token) -> Cell:
    if token.kind == "text":
        return token.text[1:-1]
    if token.kind == "word":
        return token.text == "true"
    whole = token.text.lstrip("+-").isdigit()
    return int(token.text) if whole else float(token.text)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Operand:
    name: str  # of the column, or the literal as it was written
    column: bool
    value: Cell

    def of(self, row: Row) -> Cell:
        cell = row.get(self.name) if self.column else self.value
        return cell.isoformat() if isinstance(cell, datetime) else cell


@dataclass(frozen=True, kw_only=True, slots=True)
class _Comparison:
    left: _Operand
    sign: str
    right: _Operand

    def __call__(self, row: Row) -> bool:
        return self._holds(self.left.of(row), self.right.of(row))

    def _holds(self, left: Cell, right: Cell) -> bool:
        if left is None or right is None:
            return False
        if isinstance(left, tuple) or isinstance(right, tuple):
            layers = zip(_layers(left), _layers(right), strict=False)
            return all(self._holds(one, other) for one, other in layers)
        if _kind(left) != _kind(right):
            raise InputError(
                f"where: {self.left.name} {self.sign} {self.right.name}: "
                f"{_kind(left)} is compared with {_kind(right)}"
            )
        return OPERATORS[self.sign](left, right)


@dataclass(frozen=True, kw_only=True, slots=True)
class _In:
    left: _Operand
    choices: tuple[_Operand, ...]

    def __call__(self, row: Row) -> bool:
        return any(_Comparison(left=self.left, sign="==", right=each)(row) for each in self.choices)


@dataclass(frozen=True, kw_only=True, slots=True)
class _IsNull:
    operand: _Operand

    def __call__(self, row: Row) -> bool:
        return self.operand.of(row) is None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Not:
    part: Predicate

    def __call__(self, row: Row) -> bool:
        return not self.part(row)


@dataclass(frozen=True, kw_only=True, slots=True)
class _All:
    parts: tuple[Predicate, ...]

    def __call__(self, row: Row) -> bool:
        return all(part(row) for part in self.parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Any:
    parts: tuple[Predicate, ...]

    def __call__(self, row: Row) -> bool:
        return any(part(row) for part in self.parts)


def _negated(tree: Predicate, negated: bool) -> Predicate:
    return _Not(part=tree) if negated else tree


def _layers(cell: Cell) -> Iterable[Cell]:
    return cell if isinstance(cell, tuple) else repeat(cell)


def _kind(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true or false"
    return "text" if isinstance(cell, str) else "a number"
