"""Tables beside the images of a data set."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from medley.errors import MedleyError
from medley.runtime.atomic import one_line


def read_rows(path: Path, key: str, columns: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """The lines of a CSV by what stands in column `key`; a column is found by its name.

    Raises
    ------
    MedleyError: no such file, one that is no CSV, without `key` or one of `columns`, or with a key twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := {key, *columns} - set(reader.fieldnames or ()):
                raise MedleyError(f"{path} has no column {', '.join(sorted(missing))}; expected one line an image")
            rows: dict[str, dict[str, str]] = {}
            for row in reader:
                if row[key] in rows:
                    raise MedleyError(f"{path}, line {reader.line_num}: {row[key]} is there twice; keep one line of it")
                rows[row[key]] = {name: (value or "").strip() for name, value in row.items() if name}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedleyError(f"{path}: cannot be read as a CSV ({one_line(error)})") from None
    return rows
