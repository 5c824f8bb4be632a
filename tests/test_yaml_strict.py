import pytest

from nas.errors import ConfigError
from nas.yaml_strict import MAX_BYTES, Reader, load_yaml, load_yaml_text


def reader(text):
    return Reader(load_yaml_text(text, "x.yaml"), where="x.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("[1]", r"got \[1\] \(list\) at the top, expected a mapping"),
        ("a: 1\nb: 2\na: 3", r"line 3: key 'a' given twice \(first on line 1\)"),
        ("a: {b: 1, b: 2}", "line 1: key 'b' given twice"),
        ("a:\n\t- 1", "line 2: a tab; indent with spaces"),
        ("a: [1", "line 1: expected ',' or ']'"),
        ("a: 1\n---\nb: 2", "line 2: "),
        ("yes: 1", "line 1: the key 'yes' is not text; quote it"),
        ("? [a]\n: 1", "the key is not text"),
        ("<<: {a: 1}", "the key '<<' is not text"),
        ("a: &x 1\nb: *x", "line 2: anchors and aliases are not allowed"),
        ("a: &x [*x]", "anchors and aliases are not allowed"),
        ("a: 010", "YAML reads 010 in base 8 or 60"),
        ("a: 1:30", "YAML reads 1:30 in base 8 or 60"),
        ("a: " + "9" * 5000, "an integer of 5000 digits"),
        ("a: 2020-99-99", "quote it if it is text"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
        ("a: \x01", "special characters are not allowed"),
        ("a: " + "[" * 1000, "nested too deeply"),
    ],
)
def test_load_refuses_with_one_line_where_yaml_is_a_trap(text, message):
    with pytest.raises(ConfigError, match=rf"^x\.yaml: .*{message}") as caught:
        load_yaml_text(text, "x.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: \xff", "line 1: not UTF-8 text"),
        (b"a: " + b"x" * MAX_BYTES, "larger than 1 MiB"),
    ],
)
def test_load_refuses_a_file_that_is_no_text_of_settings(tmp_path, content, message):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_yaml(path)


def test_load_refuses_a_folder_and_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        load_yaml(tmp_path)
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "none.yaml")


def test_load_reads_a_file_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 0\nb: 0x10\n")
    assert load_yaml(path) == {"a": 0, "b": 16}


@pytest.mark.parametrize(
    ("text", "ask", "message"),
    [
        ("a: 1e1", lambda r: r.integer("a", minimum=1), r"got '1e1' \(str\), .*>= 1; write 10$"),
        ("a: 10.0", lambda r: r.integer("a"), r"got 10.0 \(float\), expected an integer; write 10"),
        ("a: 0", lambda r: r.integer("a", minimum=1, maximum=8), "expected an integer 1 to 8$"),
        ("a: yes", lambda r: r.integer("a"), r"got true \(bool\), expected an integer$"),
        ("a: .inf", lambda r: r.integer("a"), r"got inf \(float\)"),
        (
            "a: 1e-7",
            lambda r: r.number("a"),
            r"got '1e-7' \(str\), expected a number; write 1.0e-7",
        ),
        ("a: .nan", lambda r: r.number("a"), "got nan"),
        ("a: 2.5", lambda r: r.number("a", maximum=1), "expected a number <= 1"),
        ("a: no", lambda r: r.text("a"), "got false .*quote the word"),
        ("a: 3", lambda r: r.text("a"), r"got 3 \(int\), expected a text; write '3'"),
        ("a: ''", lambda r: r.text("a"), "expected a text"),
        ("a: tpo", lambda r: r.text("a", choices=["tpe"]), "one of tpe; did you mean 'tpe'"),
        ("a: 'yes'", lambda r: r.boolean("a"), r"got 'yes' \(str\), expected true or false"),
        ("a: 1", lambda r: r.mapping("a"), "expected a mapping"),
        ("a:", lambda r: r.mapping("a"), "got nothing, expected a mapping"),
        ("a: x", lambda r: r.sequence("a"), r"expected a list; write \[x\]"),
    ],
)
def test_reader_refuses_a_wrong_value_with_its_place_and_a_hint(text, ask, message):
    with pytest.raises(ConfigError, match=rf"^x\.yaml: a: .*{message}"):
        ask(reader(text))


def test_reader_names_the_path_of_nested_values():
    items = reader("a: {b: [1, 2e1]}").mapping("a").sequence("b")
    assert items.integer(0) == 1
    with pytest.raises(ConfigError, match=r"^x\.yaml: a\.b\[1\]: got '2e1'.*write 20"):
        items.integer(1)


def test_reader_refuses_a_missing_key_and_points_at_a_misspelt_one():
    with pytest.raises(ConfigError, match="n_head: missing, expected an integer; is 'n_haed' it"):
        reader("n_haed: 3").integer("n_head")


def test_done_refuses_an_unknown_key_and_names_the_nearest():
    r = reader("seed: 1\nkep: 3")
    assert (r.integer("seed"), r.integer("keep", default=5)) == (1, 5)
    with pytest.raises(ConfigError, match=r"kep: unknown key; .*did you mean 'keep'"):
        r.done()


def test_reader_returns_what_is_given_or_the_default():
    r = reader("a: 1\nb: 0.5\nc: x\nd: false\ne: [1]")
    assert (r.integer("a"), r.number("b"), r.text("c"), r.boolean("d")) == (1, 0.5, "x", False)
    assert (r.number("a"), list(r.sequence("e")), list(r.sequence("f", optional=True))) == (
        1.0,
        [0],
        [],
    )
    assert (r.boolean("g", default=True), r.has("h"), list(r.mapping("i", optional=True))) == (
        True,
        False,
        [],
    )
    r.done()
