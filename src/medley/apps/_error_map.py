"""The map of the expected error: computed and written while the slices of a restoration are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from medley.errors import MedleyError
from medley.inference.expected_error import LEVEL, ErrorModel, described_error
from medley.inference.plan import RestorationPlan
from medley.inference.restorer import Restorer
from medley.io.dicom.provenance import Algorithm
from medley.io.nifti import SUFFIXES as NIFTI_SUFFIXES
from medley.io.nifti import nifti_writer
from medley.io.writing import in_background
from medley.metrics.tissue import tissue

QUANTITY = "expected error"
Append = Callable[[np.ndarray], None]
_BINS = 2000  # of the histogram of the half-widths, up to the width of the range of the network


class ErrorMap:
    """A callback for the slices of a restoration, in order: writes the half-width of the interval of every pixel.

    Attributes
    ----------
    shown: {slice number: half-widths (row, column)} of the slices `wanted`.
    """

    def __init__(self, plan: RestorationPlan, model: ErrorModel, append: Append, wanted: set[int]) -> None:
        self._plan, self._model, self._append, self._wanted = plan, model, append, wanted
        self._edges = np.linspace(0, plan.normalisation.high - plan.normalisation.low, _BINS + 1)
        self._counts = np.zeros(_BINS, np.int64)
        self.shown: dict[int, np.ndarray] = {}

    def __call__(self, k: int, before: np.ndarray, after: np.ndarray) -> None:
        """Compute and write slice `k`, from (row, column) before and after."""
        inside = tissue(before, self._plan.task, self._plan.normalisation.high)
        half = self._model.half_width(before, after, inside, self._plan.normalisation)
        self._counts += np.histogram(half[inside].clip(0, self._edges[-1]), self._edges)[0]
        self._append(half)
        if k in self._wanted:
            self.shown[k] = half

    def record(self) -> dict[str, float | None]:
        """{"level", "median", "highest"}: of the half-widths in tissue, in the unit of the scan; None without tissue.

        "highest" is their 95th percentile.
        """
        shares = np.cumsum(self._counts) / max(int(self._counts.sum()), 1)
        found = [float(self._edges[1:][np.searchsorted(shares, share)]) for share in (0.5, 0.95)] if shares[-1] else []
        median, highest = found or (None, None)
        return {"level": LEVEL, "median": median, "highest": highest}


def error_model(restorer: Restorer, plan: RestorationPlan) -> ErrorModel:
    """The model of the expected error of a restorer for the task of a plan.

    Raises
    ------
    MedleyError: the weights have none.
    """
    model = described_error(restorer.description, plan.task.name)
    if model is None:
        raise MedleyError(
            f"{restorer.description.name} does not state its expected error for {plan.task.name}; omit --uncertainty, "
            "or calibrate the weights (medley calibrate)"
        )
    return model


@contextmanager
def open_error_map(
    path: Path, plan: RestorationPlan, *, derivation: str, mark: str, algorithm: Algorithm, mode: int, overwrite: bool
) -> Iterator[Append]:
    """A function that takes the slices of a map in order; it is written completely at the end, or not at all.

    Parameters
    ----------
    path: .nii or .nii.gz, float32; or .dcm for a DICOM parametric map of a scan that was read from DICOM.
    derivation, mark, algorithm: see `medley.io.files.open_writer`. mode: the permissions that the file has at most.

    Raises
    ------
    MedleyError: another suffix; as `nifti_writer` and `write_parametric_map`.
    """
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        grid = plan.before.with_data(plan.before.data, modality="")
        text = f"{QUANTITY} {derivation}"
        target = nifti_writer(grid, path, derivation=text, dtype="float32", overwrite=overwrite, mode=mode)
        with in_background(target, plan.before.shape) as writer:
            yield writer.append
    elif name.endswith(".dcm"):
        from medley.io.dicom.parametric_map import check_reference, write_parametric_map

        check_reference(plan.before, path)
        if plan.scale > 1:
            raise MedleyError(f"{path}: a DICOM map has the grid of the scan, so it needs the scale 1; write .nii.gz")
        slices: list[np.ndarray] = []
        yield slices.append
        write_parametric_map(
            np.stack(slices), path, reference=plan.before, quantity=QUANTITY, mark=mark, algorithm=algorithm,
            overwrite=overwrite,
        )  # fmt: skip
    else:
        raise MedleyError(f"{path}: a map of the expected error is a .nii.gz, .nii or .dcm file; choose such a name")
