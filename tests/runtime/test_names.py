import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.runtime.names import MAX_BYTES, check_name, child, safe_name

VALID = ("a", "scan-1", "PTV_7000", "Parotid L", "Müller", "患者", "v1.2", "con-1", "x" * MAX_BYTES, "a(b)+c=d,e")
DANGEROUS = (
    "", ".", "..", "...", ".hidden", "...npz", "-rf", "--output", "a/b", "/etc/passwd", "../x", "a/../../x", "a\\b",
    "..\\x", "C:", "C:x", "C:\\x", "//server/share", "~/x", "a\0b", "a\nb", "a\x1b[2Jb", "a\x7fb", "a\u202eb",
    "a\ufeff", "a\u2028b", "\ud800", "a?b", "a*b", "<script>", 'a"b', "a|b", " a", "a ", "a.", "\u3000",
    "NUL", "con", "COM1.txt", "lpt9", "x" * (MAX_BYTES + 1), "ä" * MAX_BYTES,
)  # fmt: skip


@pytest.mark.parametrize("name", VALID)
def test_a_valid_name_is_returned_unchanged(name: str) -> None:
    assert check_name(name, "the record id") == name


@pytest.mark.parametrize("name", DANGEROUS)
def test_a_dangerous_name_is_refused_in_one_printable_line(name: str) -> None:
    with pytest.raises(MedleyError) as refused:
        check_name(name, "the record id")
    message = str(refused.value)
    assert message.startswith("the record id ")
    assert "cannot be used as a file name" in message
    assert message.isprintable()


@pytest.mark.parametrize("name", [None, 3, 1.5, ["a"], {"a": 1}, b"a", Path("a")])
def test_a_name_that_is_not_text_is_refused(name: object) -> None:
    with pytest.raises(MedleyError, match="expected text"):
        check_name(name, "the target")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [*VALID, *DANGEROUS])
def test_a_safe_name_is_valid_and_stays_as_it_is(text: str) -> None:
    name = safe_name(text)
    assert check_name(name, "the name") == name
    assert re.fullmatch(r"[\w.-]+", name)
    assert safe_name(name) == name


def test_random_text_gives_a_valid_direct_child(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    letters = [*"./\\:-_ ~ab\0\n\x1bé\u202e\ud800", "COM1", "..", "患"]
    for _ in range(500):
        text = "".join(rng.choice(letters, rng.integers(0, 60)))
        path = child(tmp_path, safe_name(text))
        assert path.parent == tmp_path
        path.touch()
        assert path.resolve().parent == tmp_path.resolve()


def test_simple_names_are_kept_and_others_stay_readable() -> None:
    assert safe_name("PTV_7000-a.b") == "PTV_7000-a.b"
    assert safe_name("Parotid L/R") == "Parotid_L_R"
    assert safe_name("..") == safe_name("") == safe_name("---") == "unnamed"
    assert safe_name("nul") == "_nul"


def test_composed_and_decomposed_letters_give_one_name() -> None:
    assert safe_name(unicodedata.normalize("NFD", "Müller")) == safe_name("Müller") == "Müller"


def test_long_texts_with_a_common_start_stay_different() -> None:
    first, second = (safe_name("é" * 300 + end) for end in "ab")
    assert first != second
    assert max(len(name.encode()) for name in (first, second)) <= MAX_BYTES


@pytest.mark.parametrize("name", ["..", "/etc/passwd", "a/b", "C:\\x"])
def test_a_child_is_always_a_direct_child(tmp_path: Path, name: str) -> None:
    assert child(tmp_path, "a", "the target") == tmp_path / "a"
    with pytest.raises(MedleyError, match="the target"):
        child(tmp_path, name, "the target")
