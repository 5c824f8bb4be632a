"""What people name never becomes SQL: hostile names and values, and every statement in the code."""

import ast
from pathlib import Path

import pytest

import nas.store
from nas.errors import InputError, NotFoundError
from nas.families import architecture
from nas.store.where import parse_where

PACKAGE = Path(nas.store.__file__).parents[1]
EXECUTE = {"execute", "exec_driver_sql", "text", "scalar", "scalars"}
HOSTILE = (
    "'; DROP TABLE nas_study; --",
    '"; DROP TABLE nas_candidate; --',
    "tiny' OR '1'='1",
    "%s %(name)s :name ? $1",
    "tiny\\'; DELETE FROM nas_model; --",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_name(store, study, build, name):
    build.add(store, study, build.candidate())
    other = build.study(store, name, config={"note": name})
    assert store.study(name).config == {"note": name}
    for each in (study, other):
        with pytest.raises(NotFoundError, match="no candidate"):
            store.row(each, name)
        with pytest.raises(NotFoundError):
            store.set_candidate_state(each, name, "running")
        store.drop_model(each, name)
    with pytest.raises(NotFoundError):
        store.study(name + "x")
    store.set_state(other, "finished")
    store.rename_study(name, f"{name}.1")
    store.delete_study(f"{name}.1")
    assert store.studies() == ["tiny"]
    assert store.study("tiny").state == "running"
    assert len(store.rows(study)) == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_come_back_as_they_were(store, study, build, text):
    candidate = build.candidate()
    build.add(store, study, candidate)
    failed = build.outcome(candidate, state="failed", error=text, traceback=text * 3)
    store.record_outcome(study, failed)
    store.enqueue(study, architecture("llama", n_layer=3, d_model=64, n_head=2, d_ff=128))
    store.set_summary(study, {text: text})
    [row] = store.rows(study)
    assert (row.error, row.traceback) == (text, text * 3)
    assert store.study("tiny").summary == {text: text}
    assert parse_where(f"error == '{text}'", {"error"})(row.flat()) if "'" not in text else True


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_condition_is_refused_or_a_comparison(text):
    for where in (text, f"params < 1 {text}", f"params < 1) {text}"):
        with pytest.raises(InputError, match="where:"):
            parse_where(where, {"params"})


def test_statements_are_made_of_constants_and_bound_parameters():
    """No text that is executed holds anything but the program's own constants."""
    made = [
        (path.name, node)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _called(node) in EXECUTE and node.args
    ]
    assert len(made) > 20
    for file, call in made:
        statement = call.args[0]
        names = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
        if isinstance(statement, ast.JoinedStr):
            assert all(name.isupper() for name in names), f"{file}:{call.lineno}"
        glued = isinstance(statement, ast.BinOp) and isinstance(statement.op, ast.Add | ast.Mod)
        formatted = isinstance(statement, ast.Call) and _called(statement) == "format"
        assert not glued, f"{file}:{call.lineno}"
        assert not formatted, f"{file}:{call.lineno}"


def _called(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))
