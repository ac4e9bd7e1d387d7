"""What decoding compressed DICOM in a child process costs, compared with decoding in the same process.

    python -m benchmarks.decoding -o results/decoding.csv      64 slices of 512 x 512, needs python-gdcm

Both ways of reading the same series alternate, pair by pair; `ratio` is the median over the pairs.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydicom import dcmread

import medley
from benchmarks.volume import write_scan
from medley.io.dicom import decode
from medley.runtime import worker
from medley.runtime.atomic import replacing

SYNTAXES = ("JPEGLSLossless", "RLELossless", "JPEG2000Lossless", "JPEGLosslessProcess14_1")
HEADERS = ("syntax", "slices", "pairs", "child_seconds", "same_process_seconds", "ratio")


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows = []
    for syntax in SYNTAXES:
        with TemporaryDirectory() as folder:
            series = compressed_series(Path(folder) / "series", syntax, options.slices)
            rows.append(measure(series, syntax, options))
        print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if options.output:
        with replacing(options.output, overwrite=True) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, HEADERS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def measure(series: Path, syntax: str, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one transfer syntax."""
    read(series)  # starts the child process, and fills the cache of the file system
    child, same = [], []
    for _ in range(options.pairs):
        child.append(seconds(lambda: read(series)))
        with in_same_process():
            same.append(seconds(lambda: read(series)))
    ratio = statistics.median(a / b for a, b in zip(child, same, strict=True))
    values = (
        syntax,
        options.slices,
        options.pairs,
        f"{min(child):.3f}",
        f"{min(same):.3f}",
        f"{ratio:.3f}",
    )
    return dict(zip(HEADERS, values, strict=True))


def compressed_series(folder: Path, syntax: str, slices: int) -> Path:
    """The CT of `benchmarks.volume` with noise, 512 x 512, as a DICOM series in a transfer syntax."""
    import gdcm

    write_scan(folder, slices, "dicom")
    for k, path in enumerate(sorted(folder.iterdir())):
        add_noise(path, k)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        if not reader.Read():
            raise SystemExit(f"{path}: gdcm cannot read it")
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise SystemExit(f"gdcm cannot write {syntax}")
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        writer.Write()
    return folder


def add_noise(path: Path, seed: int) -> None:
    """Normal noise of 15 HU, as in a CT: smooth slices would be decoded unrealistically fast."""
    header = dcmread(path)
    noise = np.random.default_rng(seed).normal(0, 15, header.pixel_array.shape).round()
    header.PixelData = (header.pixel_array + noise).astype(np.int16).tobytes()
    header.save_as(path)


def read(series: Path) -> np.ndarray:
    """All values of a series."""
    return np.asarray(medley.read(series).data)


def seconds(work: Callable[[], object]) -> float:
    """The wall-clock time of a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


@contextmanager
def in_same_process() -> Iterator[None]:
    """Decode without the child process."""
    original = worker.stream

    def direct(function: Callable[..., Iterator[Any]], *arguments: Any, path: object) -> Iterator[Any]:
        return function(*arguments)

    decode.worker.stream = direct
    try:
        yield
    finally:
        decode.worker.stream = original


if __name__ == "__main__":
    main()
