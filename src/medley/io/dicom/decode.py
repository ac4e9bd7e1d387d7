"""The stored values of DICOM frames. Compressed frames are decoded in a child process, which may crash."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import IO, Any, BinaryIO, cast

import numpy as np
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from medley.errors import MedleyError
from medley.io.dicom.codestream import check_codestream
from medley.io.dicom.frames import Pixels
from medley.io.dicom.headers import opened
from medley.runtime import worker
from medley.runtime.limits import check_memory


def stored_frames(files: Iterable[tuple[Pixels, list[int]]]) -> Iterator[np.ndarray]:
    """The frames of those indices of each file as stored integers (row, column), decoded one at a time.

    Raises
    ------
    MedleyError: a compressed frame contradicts the header, or its decoder crashed.
    Any exception of the decoders; wrap the iteration in `medley.io.dicom.headers.reading`.
    """
    for encapsulated, group in groupby(files, key=lambda file: file[0].encapsulated):
        alike = list(group)
        pixels = alike[0][0]
        check_memory(pixels.path, pixels.rows * pixels.columns * 8, "one slice")
        if encapsulated:
            paths = [pixels.path for pixels, indices in alike for _ in indices]
            yield from worker.stream(_decoded_files, alike, path=paths)
        else:
            yield from _decoded_files(alike)


def _decoded_files(files: list[tuple[Pixels, list[int]]]) -> Iterator[np.ndarray]:
    for pixels, indices in files:
        yield from decoded_frames(pixels, indices)


def decoded_frames(pixels: Pixels, indices: list[int]) -> Iterator[np.ndarray]:
    """The frames of one file, decoded in this process."""
    syntax = UID(pixels.syntax)
    with opened(pixels.path) as file:
        if pixels.encapsulated:
            _check_codestreams(pixels, indices, file)
        file.seek(pixels.start)
        options: dict[str, Any] = {
            "rows": pixels.rows,
            "columns": pixels.columns,
            "number_of_frames": pixels.frames,
            "samples_per_pixel": 1,
            "bits_allocated": pixels.allocated,
            "bits_stored": pixels.stored,
            "pixel_representation": int(pixels.signed),
            "photometric_interpretation": pixels.photometric,
            "pixel_keyword": "PixelData",
            "transfer_syntax_uid": syntax,
        }
        # The content of a deflated file has been inflated.
        decoder = get_decoder(ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax)
        frames = decoder.iter_array(cast(BinaryIO, file), indices=indices, raw=True, **options)
        for _ in indices:
            yield _next_rle(frames, pixels) if syntax == RLELossless else next(frames)[0]


def _next_rle(frames: Iterator[Any], pixels: Pixels) -> np.ndarray:
    """The next frame. RLE data does not state its size: more values than Rows x Columns are only a warning of pydicom.

    Runs in the child process, where no other thread needs the warning filters.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values, _ = next(frames)
    for one in caught:
        match = re.search(r"(\d+) vs\. (\d+) bytes expected", str(one.message))
        if match and int(match[1]) - int(match[2]) > 1:  # one byte is padding
            raise MedleyError(
                f"{pixels.path}: its RLE frame holds {match[1]} values, but its header says {pixels.rows} x "
                f"{pixels.columns}; it is damaged"
            )
    return values


def _check_codestreams(pixels: Pixels, indices: list[int], file: IO[bytes]) -> None:
    """Compare the headers inside of compressed frames with the DICOM header, before native code relies on either."""
    wanted = set(indices)
    file.seek(pixels.start)
    count = 0
    for index, frame in enumerate(generate_frames(file, number_of_frames=pixels.frames)):
        count += 1
        if index in wanted:
            check_codestream(
                frame, pixels.syntax, (pixels.rows, pixels.columns), pixels.stored, pixels.allocated, pixels.path
            )
    if count != pixels.frames:
        raise MedleyError(f"{pixels.path}: has {count} compressed frames, but NumberOfFrames is {pixels.frames}")
