"""Maps names in an RTSTRUCT file to structures: names differ between clinics, and within a clinic.

Two sources, used in the same way by `medley prepare dicom_rt` and `medley predict --structures`:

* a table, a CSV with the columns `name` and `structure`:

      name,structure
      PTV*70*,PTV70
      *cord*,SpinalCord
      External,body
      z_*,

  Names are shell patterns, without regard to case; the first row that matches is used. Names that match a row without a
  structure are left out. "body" is the outline of the patient; a structure that no row matches is also "body" if its
  type in the file is EXTERNAL. The order of structures in the table is their order in the store.
* without a table, the standard names (TG-263, see `standard_structure`) of the structures that a network knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from medley.data.layouts.tables import read_table
from medley.errors import MedleyError
from medley.io.dicom.structure_codes import ANATOMY, structure_codes
from medley.io.dicom.structures import Structures
from medley.runtime.text import plain_name

BODY = "body"
_MIRROR = {"Left": "Right", "left": "right", "LEFT": "RIGHT", "L": "R"}
# "PTV70", "PTV_7000" (cGy, TG-263), "PTV 56.0 Gy", "PTV_High".
_TARGET = re.compile(r"ptv[\s_-]*(?:(?P<dose>\d+(?:[.p]\d+)?)[\s_-]*(?P<unit>c?gy)?|(?P<level>high|mid|low))")
_CENTIGRAY = 1000  # a target's dose of this number or more is in cGy


@dataclass(frozen=True)
class StructureNames:
    """The mapping from names in files to structures.

    Attributes
    ----------
    rows: (pattern in lower case, structure or "") of the table.
    path: of the table; None for standard names.
    standard: structures that are also recognised by their standard names.
    """

    rows: tuple[tuple[str, str], ...] = ()
    path: Path | None = None
    standard: tuple[str, ...] = ()

    @property
    def structures(self) -> tuple[str, ...]:
        """All structures of the table in its order."""
        return tuple(dict.fromkeys(name for _, name in self.rows if name not in ("", BODY)))

    def structure(self, name: str, interpreted: str = "") -> str | None:
        """The structure that a name stands for; "" if it must be left out, None if it is unknown.

        Parameters
        ----------
        interpreted: RTROIInterpretedType, the type that the file gives.
        """
        for pattern, structure in self.rows:
            if fnmatchcase(name.lower(), pattern):
                return structure
        return BODY if interpreted == "EXTERNAL" else standard_structure(name, self.standard)

    def named(self, structures: Structures) -> dict[str, str]:
        """{structure: its name in the file} of those that were drawn, the body among them.

        Raises
        ------
        MedleyError: two names mean the same structure.
        """
        found: dict[str, list[str]] = {}
        for name, interpreted in structures.interpreted.items():
            if structure := self.structure(name, interpreted):
                found.setdefault(structure, []).append(name)
        return {structure: self._only(structure, names, structures.path) for structure, names in found.items()}

    def unknown(self, found: Mapping[tuple[str, str], int]) -> str:
        """A sentence that lists the names that no row matches; "" when there are none.

        Parameters
        ----------
        found: {(name, interpreted): number of patients}.
        """
        counts = {name: n for (name, kind), n in sorted(found.items()) if self.structure(name, kind) is None}
        listed = ", ".join(f"{name} ({n})" for name, n in counts.items())
        return (
            listed and f"{self.path}: no row matches these structures (number of patients), they are left out: {listed}"
        )

    def _only(self, structure: str, names: list[str], path: Path) -> str:
        if len(names) > 1 and self.path is None:  # the exact name of the structure is preferred to a similar one
            names = [name for name in names if plain_name(name) == plain_name(structure)] or names
        if len(names) == 1:
            return names[0]
        both = f"{path}: both {names[0]!r} and {names[1]!r} mean {structure}"
        if self.path is None:
            raise MedleyError(
                f"{both}; give a table that names the right one (--structure-names, columns name, structure)"
            )
        raise MedleyError(f"{both} according to {self.path}; make its rows distinguish them")


def read_structure_names(path: Path, drawn: Callable[[], Iterable[str]] = tuple) -> StructureNames:
    """Read a table.

    Parameters
    ----------
    drawn: gives the names in the files, for the message when there is no table.

    Raises
    ------
    MedleyError: there is no table, it lacks a column, or it names no structure.
    """
    if not path.exists():
        listed = ", ".join(sorted(set(drawn())))
        raise MedleyError(
            f"{path}: does not exist; create a CSV with the columns name and structure that states what the names of "
            f"structures mean{f'; those drawn are: {listed}' if listed else ''}"
        )
    found = [row.cells for row in read_table(path, ("name", "structure"), each="name")]
    rows = [(row["name"].lower(), row["structure"]) for row in found]
    names = StructureNames(tuple((name, BODY if to.lower() == BODY else to) for name, to in rows if name), path)
    if not names.structures:
        raise MedleyError(f"{path}: names no structure; expected rows such as *cord*,SpinalCord")
    return names


def standard_structure(name: str, known: Sequence[str]) -> str | None:
    """The structure among `known` that a standard name (TG-263) means; None if there is none.

    * The name itself, except for case, spaces, "_" and "-".
    * Organs: the same organ and side: "Parotid_L" for LeftParotid, "Bone_Mandible" for Mandible. Names with numbers or
      special characters are other structures ("SpinalCord_PRV05", "~Brainstem").
    * Targets: the same dose, rounded to whole Gy: "PTV_7000" and "PTV_6996" (cGy) or "PTV 70 Gy" for PTV70. "PTV_High",
      "PTV_Low" and (of three levels) "PTV_Mid" are the levels of the known targets. Other targets ("PTV_Eval",
      "PTV_7000-03") are not recognised.
    """
    same = [one for one in known if plain_name(one) == plain_name(name)]
    if same:
        return same[0]
    targets = {dose: one for one in known if (dose := _target_dose(one)) is not None}
    match = _TARGET.fullmatch(name.strip().casefold())
    if match and targets:
        if match["level"]:
            levels = sorted(targets)
            ranks = {"high": levels[-1:], "low": levels[:1], "mid": levels[1:-1]}
            rank = ranks[match["level"]]
            return targets[rank[0]] if len(rank) == 1 and len(levels) > 1 else None
        return targets.get(_target_dose(name))  # type: ignore[arg-type]
    if not re.fullmatch(r"[\w\s.-]+", name) or re.search(r"\d", name):
        return None
    organ = _organ(name)
    found = [one for one in known if organ and _organ(one) == organ]
    return found[0] if len(found) == 1 else None


def mirrored_pairs(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of names that differ in their side only: LeftParotid and RightParotid, FemoralHead_L and FemoralHead_R."""
    names = list(names)
    others = {
        name: re.sub(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", lambda word: _MIRROR.get(word[0], word[0]), name)
        for name in names
    }
    return tuple((name, other) for name, other in others.items() if other != name and other in names)


def _target_dose(name: str) -> int | None:
    """The dose in the name of a target, in whole Gy."""
    match = _TARGET.fullmatch(name.strip().casefold())
    if not match or not match["dose"]:
        return None
    dose = float(match["dose"].replace("p", "."))
    return round(dose / 100 if match["unit"] == "cgy" or (not match["unit"] and dose >= _CENTIGRAY) else dose)


def _organ(name: str) -> tuple[str, str] | None:
    """The codes of an organ and its side by its name; None for targets and unknown structures."""
    category, kind, side = structure_codes(name)
    return None if kind == ANATOMY or category != ANATOMY else (kind.value, side.value if side else "")
