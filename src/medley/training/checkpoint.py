"""Checkpoints: everything a run needs to continue as if it had never been interrupted.

A folder has up to two of them, `last.ckpt` and the one before, `previous.ckpt`. Each is a file of `torch.save` followed
by a footer of 40 bytes: `FOOTER` and the SHA-256 of all bytes before the footer.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from medley.errors import MedleyError, MedleyNotice
from medley.runtime.atomic import replacing, writing

FOOTER = b"medley-1"
_DIGEST_BYTES = hashlib.sha256().digest_size


class Checkpoints:
    """The checkpoints of one output folder.

    Attributes
    ----------
    last, previous: their paths.
    """

    def __init__(self, folder: Path) -> None:
        self.last = folder / "last.ckpt"
        self.previous = folder / "previous.ckpt"
        self._last_is_valid = False

    def exist(self) -> bool:
        """Whether there is a checkpoint, valid or not."""
        return self.last.exists() or self.previous.exists()

    def save(self, state: dict[str, Any]) -> None:
        """Write `state` (numbers, texts, state dicts) to `last`, which becomes `previous`.

        At every moment at least one complete checkpoint is on the disk; a damaged one never replaces a valid one.

        Raises
        ------
        MedleyError: it cannot be written, such as on a full disk; the checkpoints are unchanged.
        """
        with writing(self.last), replacing(self.last, overwrite=True) as temporary:
            torch.save(state, temporary)
            with temporary.open("rb+") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
                file.write(FOOTER + digest)
                file.flush()
                os.fsync(file.fileno())
            if self._last_is_valid:
                os.replace(self.last, self.previous)
        self._last_is_valid = True

    def load(self) -> dict[str, Any]:
        """The state in `last`, or with a `MedleyNotice` in `previous` if `last` is missing or damaged; on the CPU.

        Raises
        ------
        MedleyError: there is no checkpoint, or none is valid.
        """
        if not self.exist():
            raise MedleyError(f"{self.last}: there is no checkpoint to resume from; start without --resume")
        state, problem = _read(self.last)
        if state is not None:
            self._last_is_valid = True
            return state
        state, problem_before = _read(self.previous)
        if state is None:
            raise MedleyError(
                f"{self.last} {problem}, and {self.previous.name} {problem_before}; the run cannot be resumed: remove "
                "both files and start without --resume"
            )
        warnings.warn(
            f"{self.last} {problem}; the run continues from {self.previous.name}, step {state.get('step')}",
            MedleyNotice,
            stacklevel=2,
        )
        return state


def read(path: Path) -> dict[str, Any]:
    """The state in one file of a checkpoint; on the CPU.

    Raises
    ------
    MedleyError: it is missing, damaged or no checkpoint.
    """
    state, problem = _read(path)
    if state is None:
        raise MedleyError(f"{path} {problem}; give another checkpoint")
    return state


def _read(path: Path) -> tuple[dict[str, Any] | None, str]:
    """The state in a file, or None and the reason if the file is missing or damaged."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size - len(FOOTER) - _DIGEST_BYTES
            file.seek(max(size, 0))
            footer = file.read()
            if not footer.startswith(FOOTER):
                return None, "has no checksum: it is incomplete or was written by an older medley"
            file.seek(0)
            if _sha256(file, size) != footer[len(FOOTER) :]:
                return None, "is damaged (its checksum differs)"
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None, "is missing"
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    except Exception as error:  # the checksum is right, so another program or version wrote it; torch raises anything
        return None, f"cannot be read ({type(error).__name__})"
    if not isinstance(state, dict):
        return None, "is no checkpoint"
    return state, ""


def _sha256(file: Any, size: int) -> bytes:
    """The SHA-256 of the next `size` bytes of a file."""
    digest = hashlib.sha256()
    while size > 0 and (block := file.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest.digest()
