import codecs
import math

import pytest

from medley.errors import MedleyError
from medley.runtime.configuration import MAX_DEPTH, parse_setting, parse_yaml, read_configuration


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e5", 1e5), ("1E5", 1e5), ("1e-3", 1e-3), ("-1e+3", -1e3), ("2.5e-4", 2.5e-4), (".5", 0.5), ("1.", 1.0),
        ("12", 12), ("-7", -7), ("010", 10), ("08", 8), ("0x10", 16), ("0o17", 15), (".inf", math.inf),
        ("1:30", "1:30"), ("2024-01-31", "2024-01-31"), ("1_000", "1_000"), ("1.2.840", "1.2.840"), ("e5", "e5"),
        ("-.inf", -math.inf),
        ("true", True), ("False", False), ("no", "no"), ("on", "on"), ("null", None), ("~", None), ("", None),
        ("'1e5'", "1e5"), ('"yes"', "yes"), ("tat-tiny", "tat-tiny"), ("[1, 2e3, x]", [1, 2e3, "x"]),
        ("{a: 1, b: [true]}", {"a": 1, "b": [True]}), ("{1: a}", {"1": "a"}),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value) -> None:
    found = parse_yaml(text, "text")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1", "expected ',' or ']'"),
        ("a: [", "line 1"),
        ("a: b: c", "not allowed here"),
        ("{a: 1, a: 2}", "the key 'a' occurs twice"),
        ("{1: a, '1': b}", "twice"),
        ("? [a]\n: b", "must be a single word"),
        ("&x [1]\n---\n*x", "expected a single document"),
        ("[&x 1, *x]", r"aliases \(\*name\) are not allowed"),
        ("a: &a [*a]", "aliases"),
        ("[" * 3000, f"nested more than {MAX_DEPTH} levels"),
        ("{a: " * 3000, "nested more than"),
        ("- " * 3000 + "x", "nested more than"),
        ("9" * 5000, "digits"),
        ("!!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("!!int x", "invalid literal"),
        ("\x00", "special characters are not allowed|unacceptable"),
        ("a\tb: \x07", "special characters are not allowed|unacceptable"),
        ("%YAML 9", "found|expected"),
    ],
)
def test_invalid_yaml_is_one_sentence(text, reason) -> None:
    with pytest.raises(MedleyError, match=reason) as refused:
        parse_yaml(text, "the recipe x.yaml")
    assert str(refused.value).startswith("the recipe x.yaml: cannot be read as YAML: ")
    assert "\n" not in str(refused.value)


def test_a_text_that_would_become_gigantic_is_refused_at_once() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(MedleyError, match="aliases"):
        parse_yaml(bomb, "text")


@pytest.mark.parametrize("encode", [str.encode, lambda text: codecs.BOM_UTF8 + text.encode()])
def test_a_file_is_utf8_with_or_without_a_byte_order_mark(tmp_path, encode) -> None:
    (tmp_path / "r.yaml").write_bytes(encode("name: Müller\nrate: 1e-3\n"))
    assert read_configuration(tmp_path / "r.yaml", "the recipe") == {"name": "Müller", "rate": 1e-3}
    (tmp_path / "r.yaml").write_bytes(encode(""))
    assert read_configuration(tmp_path / "r.yaml", "the recipe") == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfea\x00", "is not text in UTF-8"),
        ("name: Müller".encode("latin-1"), "is not text in UTF-8"),
        (b"- a\n- b", "holds a list, expected keys and values"),
        (b"just words", "holds a text"),
        (b"12", "holds a number"),
        (b"a: 1\n" + b"#" * 1_000_000, "is larger than 1,000,000 bytes"),
    ],
)
def test_other_files_are_one_sentence_with_the_path(tmp_path, content, reason) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(MedleyError, match=f"the recipe .*r.yaml {reason}"):
        read_configuration(tmp_path / "r.yaml", "the recipe")


def test_a_missing_file_and_a_folder_are_one_sentence(tmp_path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(MedleyError, match=r"the recipe .* cannot be read: "):
            read_configuration(path, "the recipe")


def test_a_setting_is_a_name_and_a_yaml_value() -> None:
    assert parse_setting("optimizer.learning_rate=1e5") == ("optimizer.learning_rate", 1e5)
    assert parse_setting("a=b=c") == ("a", "b=c")
    assert parse_setting("a=") == ("a", None)
    for wrong in ("a", "=1", ""):
        with pytest.raises(MedleyError, match=r"--set .*: expected NAME=VALUE"):
            parse_setting(wrong)
    with pytest.raises(MedleyError, match=r"--set a=\[1: cannot be read as YAML"):
        parse_setting("a=[1")
