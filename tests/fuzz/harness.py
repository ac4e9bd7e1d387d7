"""Reads damaged files and judges what happens: a volume, one sentence, or a fault of medley."""

import traceback
import warnings
from pathlib import Path

import numpy as np
from mutators import mutate
from seeds import Seed

from medley.errors import MedleyError
from medley.volume import Volume

OUTCOMES = ("accepted", "refused", "raw exception", "absurd", "changed", "process death", "hang")
FAULTS = OUTCOMES[2:]


class Harness:
    """A seed file in a folder, and mutants of it.

    Parameters
    ----------
    folder: empty.
    """

    def __init__(self, name: str, seed: Seed, folder: Path) -> None:
        self.name, self._seed = name, seed
        folder.mkdir(parents=True)
        self._file = seed.make(folder)
        self._data = self._file.read_bytes()
        self._expected = self._read()

    def judge(self, number: int, salt: int = 0) -> tuple[str, str]:
        """The outcome for a mutant, and what is known about it; the same number gives the same mutant."""
        data, how = mutate(self._data, np.random.default_rng([salt, number]))
        self._file.write_bytes(data)
        try:
            outcome, detail = self._outcome(single=how == "flip_one_bit")
        finally:
            self._file.write_bytes(self._data)
        return outcome, f"{how}: {detail}" if detail else how

    def _read(self) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._seed.read(self._file)

    def _outcome(self, single: bool) -> tuple[str, str]:
        try:
            result = self._read()
        except MedleyError as error:
            return "refused", str(error)
        except Exception as error:
            return "raw exception", "".join(traceback.format_exception(error, limit=-4)).strip()
        if isinstance(result, Volume):
            if absurd := _absurd(result):
                return "absurd", absurd
            if single and not _same(result, self._expected, self._seed.verified):
                return "changed", "a flipped bit gives other values"
        return "accepted", ""


def _absurd(volume: Volume) -> str:
    values = np.asarray(volume.data)
    if not np.isfinite(volume.affine).all() or not all(1e-3 <= one <= 1e3 for one in volume.spacing):
        return f"affine {volume.affine.tolist()}"
    if np.abs(volume.affine[:3, 3]).max() > 1e6:
        return f"origin {volume.affine[:3, 3].tolist()}"
    if values.size > 10**7 or not np.isfinite(values).all() or np.abs(values).max() > 1e12:
        return f"{values.shape} values up to {np.abs(values).max()}"
    return ""


def _same(one: Volume, other: object, verified: str) -> bool:
    """Whether two volumes agree in what the format verifies."""
    assert isinstance(other, Volume)
    values = not verified or (one.shape == other.shape and np.array_equal(one.data, other.data))
    return values and (verified != "volume" or np.array_equal(one.affine, other.affine))
