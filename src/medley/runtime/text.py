"""Text for people and for files: suggestions, one printable line, cells that spreadsheets do not run as formulas."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

# Spreadsheets run cells that start with these as formulas. The last four are the full-width forms of the first four.
_FORMULA = "=+\\-@\t\r\n＝＋－＠"


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """ "; did you mean 'steps'?" for the option that is most like a misspelt word; "" where none is like it."""
    known = list(options)
    lower = {one.lower(): one for one in reversed(known)}
    found = get_close_matches(str(word).lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean {lower[found[0]]!r}?" if found else ""


def plain_name(name: str) -> str:
    """A name without case, spaces, "_" and "-": names that differ in these only are taken as the same."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def printable(text: str) -> str:
    """One line that a terminal shows as it is: control characters, escapes and undecodable bytes are written out."""
    return "".join(letter if letter.isprintable() else _written_out(letter) for letter in text)


def counted(number: int, thing: str) -> str:
    """ "1 slice", "2 slices"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def csv_cell(text: str) -> str:
    """A text cell of a CSV file for people: with an apostrophe if a spreadsheet would run it as a formula.

    Numbers are unchanged. `from_csv_cell` returns the original text.
    """
    return f"'{text}" if re.match(f"'*[{_FORMULA}]", text) and not _is_number(text) else text


def from_csv_cell(text: str) -> str:
    """The text that `csv_cell` was given."""
    return text[1:] if re.match(f"'+[{_FORMULA}]", text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()


def _written_out(letter: str) -> str:
    if unicodedata.category(letter) == "Zs":
        return " "
    return letter.encode("unicode_escape", "backslashreplace").decode()
