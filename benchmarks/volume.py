"""Seconds and memory of `medley restore` by the number of slices: `python -m benchmarks.volume [-o FILE.csv]`.

Scans of a phantom with noise, 256 x 256, as NIfTI and as DICOM series, are written to a temporary folder. Each is
restored by the command in a separate process; the memory is the peak memory of this process. It should not grow with
the number of slices.
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

from benchmarks.cases import phantom, restore_command
from medley.io.nifti import write_nifti
from medley.models.precision import PRECISIONS

FORMATS = ("nii", "nii.gz", "dicom")
SLICES = (32, 128, 512)
SIDE = 256  # pixels
HEADERS = ("model", "precision", "format", "slices", "seconds", "ms_a_slice", "peak_MB")


def write_scan(path: Path, count: int, form: str) -> Path:
    """A scan of so many slices at `path`, slice by slice; returns what `medley restore` is to be given."""
    if form == "dicom":
        return _write_dicom(path, count)
    file = path.with_name(f"{path.name}.{form}")
    write_nifti(phantom(count, SIDE), file, dtype="int16")
    return file


def _write_dicom(folder: Path, count: int) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    study, series, frame = (generate_uid() for _ in range(3))
    for k, pixels in enumerate(phantom(count, SIDE).data):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.PatientName, ds.PatientID, ds.StudyDate = "CT", "Phantom", "phantom", "20240101"
        ds.ImageType, ds.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        ds.ImagePositionPatient = [0, 0, 1.5 * k]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 1.5
        ds.Rows = ds.Columns = SIDE
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "HU"
        ds.PixelData = pixels.astype(np.int16).tobytes()
        ds.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)
    return folder


def measure(scan: Path, output: Path, model: str, precision: str) -> tuple[float, int]:
    """(seconds, peak resident memory in MB) of `medley restore`, from start to end of its process."""
    begun = time.perf_counter()
    process = subprocess.Popen(restore_command(scan, output, model, precision))
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"medley restore failed on {scan.name} with exit code {process.returncode}")
    return seconds, used.ru_maxrss // (1024**2 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.volume", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slices", nargs="+", type=int, default=SLICES)
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--model", default="tat-tiny", help="a packaged name or a weights file")
    parser.add_argument("--precisions", nargs="+", default=("float32",), choices=PRECISIONS)
    parser.add_argument("-o", "--output", help="CSV to write")
    options = parser.parse_args()
    rows = []
    print("  ".join(f"{name:>10}" for name in HEADERS))
    with tempfile.TemporaryDirectory() as folder:
        for form in options.formats:
            for count in options.slices:
                scan = write_scan(Path(folder) / f"scan-{count}-{form[-2:]}", count, form)
                for precision in options.precisions:
                    name = f"out-{count}-{precision}-{form[-2:]}" + ("" if form == "dicom" else f".{form}")
                    seconds, peak = measure(scan, Path(folder) / name, options.model, precision)
                    each = f"{1000 * seconds / count:.0f}"
                    rows.append((options.model, precision, form, count, f"{seconds:.2f}", each, peak))
                    print("  ".join(f"{value!s:>10}" for value in rows[-1]), flush=True)
    if options.output:
        with open(options.output, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADERS, *rows])


if __name__ == "__main__":
    main()
