"""The structures (ROIs) of an RTSTRUCT file: names, types and contours (PS3.3 C.8.8.5, C.8.8.6, C.8.8.8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from medley.errors import MedleyError
from medley.io.dicom.headers import read_header, reading

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True)
class Roi:
    """One structure of the file.

    Attributes
    ----------
    name: ROIName. interpreted: RTROIInterpretedType: "PTV", "ORGAN", "EXTERNAL" ...; "" if there is none, or several.
    frame: UID of its frame of reference.
    contours: its closed contours, items of ContourSequence.
    ignored: the number of its other contours: points and open lines.
    problem: why the file does not define the structure, as the end of a sentence; "" if it does.
    """

    name: str
    interpreted: str
    frame: str
    contours: tuple[Dataset, ...]
    ignored: int
    problem: str = ""

    @property
    def drawn(self) -> bool:
        """Whether it has contours, or may have."""
        return bool(self.contours or self.problem)


def read_rois(path: Path) -> list[Roi]:
    """The structures of an RTSTRUCT file in its order, drawn or not.

    Contours of one ROI in several items of ROIContourSequence are joined. If one structure is ambiguous, the reason is
    kept in its `problem`, so that the others can be used.

    Raises
    ------
    MedleyError: not an RTSTRUCT, a broken one, or one with contours that belong to no ROI.
    """
    header = _header(path)
    with reading(path):
        return _rois(header, path)


def series_of(path: Path) -> set[str]:
    """SeriesInstanceUID of the series that an RTSTRUCT file refers to; empty if it refers to none.

    Raises
    ------
    MedleyError: not an RTSTRUCT, or a broken one.
    """
    header = _header(path)
    with reading(path):
        return {
            str(series.SeriesInstanceUID)
            for frame in header.get("ReferencedFrameOfReferenceSequence") or ()
            for study in frame.get("RTReferencedStudySequence") or ()
            for series in study.get("RTReferencedSeriesSequence") or ()
        }


def _header(path: Path) -> Dataset:
    header = read_header(path)
    if header.get("Modality") != "RTSTRUCT":
        raise MedleyError(f"{path}: its modality is {header.get('Modality') or 'unknown'}, expected an RTSTRUCT file")
    with reading(path):
        header.decode()
    return header


def _rois(header: Dataset, path: Path) -> list[Roi]:
    items = list(header.get("StructureSetROISequence") or ())
    uses = Counter(_number(item.get("ROINumber")) for item in items)
    contours = _by_number(header.get("ROIContourSequence"), path)
    for number, of_number in contours.items():
        if number not in uses and any(item.get("ContourSequence") for item in of_number):
            raise MedleyError(
                f"{path}: has contours of ROI number {number}, but no structure with this number; export it again"
            )
    observations = _by_number(header.get("RTROIObservationsSequence"), None)
    return [_roi(item, uses, contours, observations, header) for item in items]


def _roi(
    item: Dataset,
    uses: Counter[int | None],
    contours: dict[int, list[Dataset]],
    observations: dict[int, list[Dataset]],
    header: Dataset,
) -> Roi:
    number = _number(item.get("ROINumber"))
    problem = ""
    if number is None:
        problem = "has no ROINumber, so its contours are unknown"
    elif uses[number] > 1:
        problem = f"shares its ROINumber {number} with another structure, so their contours cannot be separated"
    drawn = (
        []
        if number is None
        else [one for part in contours.get(number, ()) for one in part.get("ContourSequence") or ()]
    )
    closed = tuple(one for one in drawn if one.get("ContourGeometricType") in CLOSED and "ContourData" in one)
    kinds = (
        {str(one.get("RTROIInterpretedType") or "") for one in observations.get(number, ())} - {""}
        if number is not None
        else set()
    )
    return Roi(
        name=str(item.get("ROIName") or f"ROI {number}").strip(),
        interpreted=kinds.pop() if len(kinds) == 1 else "",
        frame=str(item.get("ReferencedFrameOfReferenceUID") or _frame(header)),
        contours=() if problem else closed,
        ignored=len(drawn) - len(closed),
        problem=problem if number is None or drawn else "",
    )


def _by_number(items: Iterable[Dataset] | None, path: Path | None) -> dict[int, list[Dataset]]:
    """Items by their ReferencedROINumber; with a `path`, contours without it are refused."""
    result: dict[int, list[Dataset]] = {}
    for item in items or ():
        number = _number(item.get("ReferencedROINumber"))
        if number is not None:
            result.setdefault(number, []).append(item)
        elif path and item.get("ContourSequence"):
            raise MedleyError(f"{path}: has contours without a ReferencedROINumber; export it again")
    return result


def _number(value: object) -> int | None:
    return None if value in (None, "") else int(str(value))


def _frame(header: Dataset) -> str:
    """The frame of reference of the file as a whole."""
    referenced = header.get("ReferencedFrameOfReferenceSequence") or ()
    return str((referenced[0] if referenced else header).get("FrameOfReferenceUID") or "")
