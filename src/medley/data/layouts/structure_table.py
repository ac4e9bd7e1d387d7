"""What the names of structures stand for: they differ between clinics, and between the people of one.

A CSV with the columns `name` and `structure`:

    name,structure
    PTV*70*,PTV70
    *cord*,SpinalCord
    External,body
    z_*,

A name is matched as a shell does, upper and lower case alike; the first row that fits counts. A row without a structure
leaves its names out; "body" is the patient's outline, as is what the file itself calls EXTERNAL and no row names. The
order of structures in the table is their order in the store.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from medley.errors import MedleyError
from medley.io.dicom.structures import Structures
from medley.runtime.atomic import one_line

BODY = "body"
_MIRROR = {"Left": "Right", "left": "right", "LEFT": "RIGHT", "L": "R"}


@dataclass(frozen=True)
class Table:
    """Which name of a structure stands for what.

    Attributes
    ----------
    path: of the CSV. rows: (pattern in lower case, structure or "").
    """

    path: Path
    rows: tuple[tuple[str, str], ...]

    @property
    def structures(self) -> tuple[str, ...]:
        """Those that are asked, in the order of the table."""
        return tuple(dict.fromkeys(name for _, name in self.rows if name not in ("", BODY)))

    def structure(self, name: str, interpreted: str = "") -> str | None:
        """What a name stands for; "" when it is to be left out, None when no row fits.

        Parameters
        ----------
        interpreted: RTROIInterpretedType, what the file says of its kind.
        """
        outline = BODY if interpreted == "EXTERNAL" else None
        return next((structure for pattern, structure in self.rows if fnmatchcase(name.lower(), pattern)), outline)

    def named(self, structures: Structures) -> dict[str, str]:
        """{structure: the name it has here} of those that were drawn, the body among them.

        Raises
        ------
        MedleyError: two names stand for one structure.
        """
        named: dict[str, str] = {}
        for name, interpreted in structures.interpreted.items():
            structure = self.structure(name, interpreted)
            if structure and named.setdefault(structure, name) != name:
                raise MedleyError(
                    f"{structures.path}: both {named[structure]!r} and {name!r} stand for {structure} by {self.path}; "
                    "make its rows tell them apart"
                )
        return named

    def unknown(self, found: Mapping[tuple[str, str], int]) -> str:
        """A sentence that lists the names no row fits; "" when there are none.

        Parameters
        ----------
        found: {(name, interpreted): number of patients}.
        """
        counts = {name: n for (name, kind), n in sorted(found.items()) if self.structure(name, kind) is None}
        listed = ", ".join(f"{name} ({n})" for name, n in counts.items())
        return (
            listed and f"{self.path}: no row fits these structures (of so many patients), they are left out: {listed}"
        )


def read_table(path: Path, drawn: Callable[[], Iterable[str]]) -> Table:
    """Read the CSV.

    Parameters
    ----------
    drawn: gives the names that are there, for the message when there is no table.

    Raises
    ------
    MedleyError: there is none, it lacks a column, or it names no structure.
    """
    if not path.exists():
        raise MedleyError(
            f"{path}: does not exist; make it, a CSV with the columns name and structure that says what the names of "
            f"structures stand for; those drawn are: {', '.join(sorted(set(drawn()))) or 'none'}"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, found = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedleyError(f"{path}: cannot be read as a CSV in UTF-8 ({one_line(error)})") from None
    if missing := {"name", "structure"} - set(columns):
        raise MedleyError(f"{path}: has no column {' and no column '.join(sorted(missing))}; add it, a row a name")
    rows = [((row["name"] or "").strip().lower(), (row["structure"] or "").strip()) for row in found]
    table = Table(path, tuple((name, BODY if to.lower() == BODY else to) for name, to in rows if name))
    if not table.structures:
        raise MedleyError(f"{path}: names no structure; expected rows such as *cord*,SpinalCord")
    return table


def mirrored_pairs(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of names that differ in their side only: LeftParotid and RightParotid, FemoralHead_L and FemoralHead_R."""
    names = list(names)
    others = {
        name: re.sub(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", lambda word: _MIRROR.get(word[0], word[0]), name)
        for name in names
    }
    return tuple((name, other) for name, other in others.items() if other != name and other in names)
