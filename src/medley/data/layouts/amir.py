"""Layout "amir": the prepared data of AMIR and UniH3, pairs in SOURCE/TASK/SPLIT/LQ and SOURCE/TASK/SPLIT/HQ.

TASK is MRI, CT or PET (or another task or modality), SPLIT train, validation (also valid, val) or test. Images have the
same name in LQ (low quality) and HQ (high quality): NIfTI, pictures, or .bin, which is a pickle of a numpy array.

The names do not state persons: every image is a subject of its own, unless a table with the columns name and subject
says otherwise, where name is the relative path below LQ without suffix.
"""

from __future__ import annotations

from pathlib import Path

from medley.data.layouts.pairs import partners, record_source
from medley.data.layouts.study import SPLITS, RecordSource
from medley.data.layouts.tables import read_rows
from medley.data.pairing import task_called
from medley.errors import MedleyError
from medley.tasks import TASKS

LOW, HIGH = "LQ", "HQ"


def records(source: Path, *, table: Path | None = None) -> list[RecordSource]:
    """The pairs below `source`; a single folder TASK is accepted too.

    Parameters
    ----------
    source: the folder. table: CSV with the columns name and subject, for all images.

    Raises
    ------
    MedleyError: there is no folder LQ beside a folder HQ; an unknown task or split; an image without a partner or
        without a line in the table.
    """
    if not source.is_dir():
        raise MedleyError(f"{source} is not a folder; give the one that holds TASK/SPLIT/{LOW} and TASK/SPLIT/{HIGH}")
    subjects = read_rows(table, "name", ("subject",)) if table else None
    folders = sorted({one.parent for name in (LOW, HIGH) for one in source.rglob(name) if one.is_dir()})
    if not folders:
        raise MedleyError(f"{source} holds no folder {LOW} beside a folder {HIGH}; expected TASK/SPLIT/{LOW}/NAME")
    found = []
    for folder in folders:
        task, split = task_called(folder.resolve().parent.name, more=True), SPLITS.get(folder.name.lower())
        if task is None:
            raise MedleyError(
                f"{folder}: {folder.resolve().parent.name} is no task; expected one of {', '.join(TASKS)}, or the "
                "modality, such as CT, MRI or PET"
            )
        if split is None:
            raise MedleyError(f"{folder}: {folder.name} is no split; expected one of {', '.join(SPLITS)}")
        for half in (LOW, HIGH):
            if not (folder / half).is_dir():
                raise MedleyError(f"{folder}: has no folder {half}; expected {LOW} and {HIGH}")
        for name, low, high in partners(folder / LOW, folder / HIGH):
            if subjects is not None and not subjects.get(name, {}).get("subject"):
                raise MedleyError(f"{table}: has no subject of {name}; add a line with name and subject")
            identifier = f"{folder.resolve().parent.name}/{split}/{name}"
            found.append(
                record_source(
                    low,
                    high,
                    task,
                    source=low.path.relative_to(source).as_posix(),
                    name=identifier,
                    subject=subjects[name]["subject"] if subjects is not None else identifier,
                    split=split,
                )
            )
    return found
