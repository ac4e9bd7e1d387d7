"""Radiotherapy patients made by hand: contours, doses and CT of known shapes, sound or spoilt.

Ask for the fixture `rt`; it is this module. Contours are given as {slice: [(point, 2) of row and column]}, counted in
voxels of the CT from the centre of the first one, and become LPS mm by the CT's affine.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage, RTStructureSetStorage, generate_uid

from medley.io.files import read
from medley.volume import Volume

_spec = spec_from_file_location("phantoms", Path(__file__).with_name("phantoms.py"))
phantoms = module_from_spec(_spec)
_spec.loader.exec_module(phantoms)

Contours = Mapping[int, Sequence[np.ndarray]]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE, SPACING = (16, 24, 28), (3.0, 2.0, 2.0)
BODY = ((11.5, 13.5), 9.6, 11.2)  # centre, half axes: rows, columns
PTV = ((8, 10.0, 12.0), 9.0)  # centre in voxels, radius in mm
CORD = ((0, 17.5, 12.5), (15, 19.5, 14.5))  # corners of a box in voxels: slices from, to; edges of rows and columns


def ring(centre: Sequence[float], rows: float, columns: float, points: int = 180) -> np.ndarray:
    """An ellipse with half axes in voxels: (point, 2)."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([centre[0] + rows * np.sin(angle), centre[1] + columns * np.cos(angle)], axis=1)


def rectangle(low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Four points: (4, 2), from its lowest row and column to its highest."""
    return np.array([[low[0], low[1]], [low[0], high[1]], [high[0], high[1]], [high[0], low[1]]], float)


def sphere(ct: Volume, centre: Sequence[float], radius: float, points: int = 180) -> Contours:
    """Circles on the slices it crosses; centre in voxels, radius in mm."""
    depth, row, column = ct.spacing
    contours = {}
    for k in range(ct.shape[0]):
        rest = radius**2 - ((k - centre[0]) * depth) ** 2
        if rest > 0:
            contours[k] = [ring(centre[1:], np.sqrt(rest) / row, np.sqrt(rest) / column, points)]
    return contours


def box(low: Sequence[float], high: Sequence[float]) -> Contours:
    """A rectangle on the slices from `low` to `high`."""
    return {k: [rectangle(low[1:], high[1:])] for k in range(int(low[0]), int(high[0]) + 1)}


def write_ct(folder: Path, *, patient: str = "P1", **options) -> Volume:
    """A body of water in air, with a rod of bone; returns it as medley reads it."""
    row, column = np.mgrid[: SHAPE[1], : SHAPE[2]]
    (middle_row, middle_column), rows, columns = BODY
    body = ((row - middle_row) / rows) ** 2 + ((column - middle_column) / columns) ** 2 <= 1
    hu = np.broadcast_to(np.where(body, 0, -1000), SHAPE).copy()
    hu[:, 14:17, 20:23] = 700

    def named(ds: Dataset, k: int) -> None:
        _name(ds, patient)
        ds.SOPInstanceUID = generate_uid(entropy_srcs=["rt", patient, str(k)])
        ds.SeriesInstanceUID = generate_uid(entropy_srcs=["rt ct", patient])

    phantoms.write_series(
        folder, hu + 1024, "CT", **{"spacing": SPACING, "intercept": -1024.0, "change": named, **options}
    )
    return read(folder)


def write_structures(
    path: Path,
    ct: Volume,
    structures: Mapping[str, Contours],
    *,
    patient: str = "P1",
    interpreted: Mapping[str, str] = {},
    kinds: Mapping[str, str] = {},
    change: Callable[[Dataset], None] | None = None,
) -> Path:
    """An RTSTRUCT; `kinds` gives ContourGeometricType of a structure's contours where it is not CLOSED_PLANAR."""
    ds = _object(patient, RTStructureSetStorage, "RTSTRUCT")
    ds.StructureSetLabel = "made by hand"
    ds.ReferencedFrameOfReferenceSequence = [_item(FrameOfReferenceUID=ds.FrameOfReferenceUID)]
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    for number, (name, contours) in enumerate(structures.items(), start=7):
        ds.StructureSetROISequence.append(
            _item(
                ROINumber=number,
                ROIName=name,
                ReferencedFrameOfReferenceUID=ds.FrameOfReferenceUID,
                ROIGenerationAlgorithm="MANUAL",
            )
        )
        ds.RTROIObservationsSequence.append(
            _item(
                ObservationNumber=number,
                ReferencedROINumber=number,
                ROIInterpreter=None,
                RTROIInterpretedType=interpreted.get(name, ""),
            )
        )
        drawn = [
            _contour(ct, k, points, kinds.get(name, "CLOSED_PLANAR")) for k, all_ in contours.items() for points in all_
        ]
        ds.ROIContourSequence.append(_item(ReferencedROINumber=number, ContourSequence=drawn))
    if change:
        change(ds)
    ds.save_as(path, enforce_file_format=True)
    return path


def write_dose(
    path: Path,
    gray: np.ndarray,
    affine: np.ndarray,
    *,
    patient: str = "P1",
    bits: int = 32,
    absolute: bool = False,
    change: Callable[[Dataset], None] | None = None,
) -> Path:
    """An RTDOSE of (plane, row, column) Gy on a grid; its offsets are `absolute` heights or begin with 0."""
    ds = _object(patient, RTDoseStorage, "RTDOSE")
    lps = LPS @ affine
    depth, row, column = np.linalg.norm(lps[:3, :3], axis=0)
    ds.ImagePositionPatient = [round(float(x), 6) for x in lps[:3, 3]]
    ds.ImageOrientationPatient = [round(float(x), 12) for x in (*(lps[:3, 2] / column), *(lps[:3, 1] / row))]
    ds.PixelSpacing = [round(float(row), 9), round(float(column), 9)]
    first, step = (lps[2, 3], lps[2, 0]) if absolute else (0, depth)
    ds.GridFrameOffsetVector = [round(float(first + k * step), 6) for k in range(len(gray))]
    ds.FrameIncrementPointer = 0x3004000C
    ds.NumberOfFrames, ds.Rows, ds.Columns = gray.shape
    ds.SamplesPerPixel, ds.PixelRepresentation, ds.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    ds.DoseGridScaling = float(f"{max(gray.max(), 1e-3) / (2**bits - 2**6):.8e}")
    ds.PixelData = np.rint(gray / float(ds.DoseGridScaling)).astype(f"<u{bits // 8}").tobytes()
    if change:
        change(ds)
    ds.save_as(path, enforce_file_format=True)
    return path


def coarser(ct: Volume, step: int = 2, margin: float = 1.0) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and shape of a grid of `step` times the CT's distances that covers it, and `margin` steps more."""
    scale = np.diag([step, step, step, 1.0])
    scale[:3, 3] = -margin * step
    return ct.affine @ scale, tuple(int(np.ceil(n / step + 2 * margin)) for n in ct.shape)


def dose_around(ct: Volume, affine: np.ndarray, shape: Sequence[int], peak: float = 70.0) -> np.ndarray:
    """Gy at the points of a grid: `peak` at the centre of the PTV, half of it 20 mm away."""
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    centre = ct.affine[:3, :3] @ np.array(PTV[0]) + ct.affine[:3, 3]
    return peak * 0.5 ** (((points - centre) ** 2).sum(axis=-1) / 20.0**2)


def structures(ct: Volume) -> dict[str, Contours]:
    """What `write_patient` draws: the body, a spherical target and a cord."""
    return {
        "BODY": {k: [ring(*BODY)] for k in range(ct.shape[0])},
        "ptv 70": sphere(ct, *PTV),
        "SpinalCord": box(*CORD),
        "z_helper": sphere(ct, PTV[0], PTV[1] + 4),
    }


def write_patient(folder: Path, patient: str = "P1", **ct_options) -> Volume:
    """CT (folder CT), RTSTRUCT (RS.dcm) and RTDOSE (RD.dcm) of one patient; returns the CT."""
    ct = write_ct(folder / "CT", patient=patient, **ct_options)
    types = {"BODY": "EXTERNAL", "ptv 70": "PTV", "SpinalCord": "ORGAN"}
    write_structures(folder / "RS.dcm", ct, structures(ct), patient=patient, interpreted=types)
    affine, shape = coarser(ct)
    write_dose(folder / "RD.dcm", dose_around(ct, affine, shape), affine, patient=patient)
    return ct


def _contour(ct: Volume, k: float, points: np.ndarray, kind: str) -> Dataset:
    """Points of two columns lie on slice k, points of three say their slice themselves."""
    if points.shape[1] == 2:
        points = np.column_stack([np.full(len(points), k), points])
    lps = LPS @ ct.affine
    mm = points @ lps[:3, :3].T + lps[:3, 3]
    return _item(
        ContourGeometricType=kind, NumberOfContourPoints=len(points),
        ContourData=[round(float(x), 4) for x in mm.ravel()],
    )  # fmt: skip


def _object(patient: str, sop_class: str, modality: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _name(ds, patient)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid(entropy_srcs=["rt", patient, modality])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["rt series", patient, modality])
    ds.Modality, ds.Manufacturer, ds.StudyDate, ds.StudyTime, ds.StudyID = (
        modality,
        "Phantom Works",
        "20240102",
        "0955",
        "1",
    )
    return ds


def _name(ds: Dataset, patient: str) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientID, ds.PatientName = patient, f"Phantom^{patient}"
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["rt study", patient])
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["rt frame", patient])


def _item(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
