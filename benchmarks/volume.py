"""Seconds and memory of `medley restore` by the number of slices: `python benchmarks/volume.py [-o FILE.csv]`.

Scans of a phantom with noise, 256 x 256, as NIfTI and as DICOM series, are written to a temporary folder. Each is
restored by the command in a process of its own; the memory is the most that this process had at any time. It should
not grow with the number of slices.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FORMATS = ("nii", "nii.gz", "dicom")
SLICES = (32, 128, 512)
SIDE = 256  # pixels
SPACING = (1.5, 0.9, 0.9)  # mm between slices, rows, columns
HEADERS = ("model", "precision", "format", "slices", "seconds", "ms_a_slice", "peak_MB")


def slice_of(k: int) -> np.ndarray:
    """Slice k of the phantom, whole HU (row, column): a body with a spine and a tilted edge, air around, noise."""
    row, column = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    body = (row / 0.35) ** 2 + (column / 0.45) ** 2 < 1
    spine = np.hypot(row - 0.2, column) < 0.05
    soft = 40 + 30 * (column + 0.3 * row > 0.002 * (k % 100 - 50))
    clean = np.where(spine, 400, np.where(body, soft, -1000))
    noisy = clean + np.random.default_rng(k).normal(0, 30, clean.shape)
    return np.rint(noisy.clip(-1024, 3071)).astype(np.int16)


def write_scan(path: Path, count: int, form: str) -> Path:
    """A scan of so many slices at `path`, slice by slice; returns what `medley restore` is to be given."""
    if form == "dicom":
        return _write_dicom(path, count)
    import nibabel as nib

    array = np.empty((SIDE, SIDE, count), np.int16, order="F")
    for k in range(count):
        array[:, :, k] = slice_of(k).T
    file = path.with_name(f"{path.name}.{form}")
    nib.save(nib.Nifti1Image(array, np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1])), file)
    return file


def _write_dicom(folder: Path, count: int) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    study, series, frame = (generate_uid() for _ in range(3))
    for k in range(count):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.PatientName, ds.PatientID, ds.StudyDate = "CT", "Phantom", "phantom", "20240101"
        ds.ImageType, ds.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        ds.ImagePositionPatient = [0, 0, SPACING[0] * k]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = list(SPACING[1:]), SPACING[0]
        ds.Rows = ds.Columns = SIDE
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "HU"
        ds.PixelData = slice_of(k).tobytes()
        ds.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)
    return folder


def measure(scan: Path, output: Path, model: str, precision: str) -> tuple[float, int]:
    """(seconds, peak resident memory in MB) of `medley restore`, from start to end of its process."""
    options = ["--task", "ct-denoise", "--model", model, "--precision", precision, "--quiet"]
    command = [sys.executable, "-m", "medley.apps.cli", "restore", str(scan), "--output", str(output), *options]
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"medley restore failed on {scan.name} with exit code {process.returncode}")
    return seconds, used.ru_maxrss // (1024**2 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", nargs="+", type=int, default=SLICES)
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--model", default="tat-tiny", help="a packaged name or a weights file")
    parser.add_argument("--precisions", nargs="+", default=("float32",), choices=("float32", "bfloat16"))
    parser.add_argument("-o", "--output", help="CSV to write")
    asked = parser.parse_args()
    rows = []
    print("  ".join(f"{name:>10}" for name in HEADERS))
    with tempfile.TemporaryDirectory() as folder:
        for form in asked.formats:
            for count in asked.slices:
                scan = write_scan(Path(folder) / f"scan-{count}-{form[-2:]}", count, form)
                for precision in asked.precisions:
                    name = f"out-{count}-{precision}-{form[-2:]}" + ("" if form == "dicom" else f".{form}")
                    seconds, peak = measure(scan, Path(folder) / name, asked.model, precision)
                    each = f"{1000 * seconds / count:.0f}"
                    rows.append((asked.model, precision, form, count, f"{seconds:.2f}", each, peak))
                    print("  ".join(f"{value!s:>10}" for value in rows[-1]), flush=True)
    if asked.output:
        with open(asked.output, "w", newline="") as file:
            csv.writer(file).writerows([HEADERS, *rows])


if __name__ == "__main__":
    main()
