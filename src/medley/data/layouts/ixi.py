"""Layout "ixi": the T2 images of the IXI data set, good scans that are degraded.

IXI012-HH-1211-T2.nii.gz anywhere below SOURCE: subject 012, scanned at Hammersmith Hospital (HH), Guy's Hospital (Guys)
or the Institute of Psychiatry (IOP). A folder called train, valid or test gives the split, else the subject does.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from medley.data.layouts.study import Study, split_of
from medley.errors import MedleyError, MedleyNotice
from medley.io.files import Scan

_NAME = re.compile(r"(IXI\d+)-(HH|Guys|IOP)-(\d+)-T2\.nii(\.gz)?")
_OTHER = re.compile(r"IXI\d+-.*-(T1|PD|MRA|DTI.*)\.nii(\.gz)?")


def studies(source: Path, table: Path | None = None) -> Iterator[Study]:
    """The T2 images below `source`, in the order of their paths.

    The other sequences of IXI are ignored. A `MedleyNotice` names NIfTI files that are not called like IXI's.

    Raises
    ------
    MedleyError: there is no such folder, or it holds no T2 image of IXI; a table, which IXI does not need.
    """
    if table is not None:
        raise MedleyError(f"{table}: the layout ixi takes subjects from the names of files; remove the table")
    if not source.is_dir():
        raise MedleyError(f"{source} is not a folder; give the one that holds IXI012-HH-1211-T2.nii.gz and the others")
    files = sorted(one for one in source.rglob("*.nii*") if one.is_file() and not one.name.startswith("."))
    found = [(file, match[1]) for file in files if (match := _NAME.fullmatch(file.name))]
    if not found:
        raise MedleyError(f"{source} holds no T2 image of IXI; expected names such as IXI012-HH-1211-T2.nii.gz")
    if strange := [file.name for file in files if not _NAME.fullmatch(file.name) and not _OTHER.fullmatch(file.name)]:
        notice = f"{source}: {len(strange)} files are not called like IXI's and are left out, such as {strange[0]}"
        warnings.warn(notice, MedleyNotice, stacklevel=2)
    for file, subject in found:
        relative = file.relative_to(source)
        yield Study(
            scan=Scan(file, name=relative.as_posix()),
            source=relative.as_posix(),
            subject=subject,
            split=split_of(subject, relative.parts[:-1]),
            modality="MR",
        )
