"""`make demo`: degrades and restores a real CT slice, with report, pictures and scores.

The slice is the one in pydicom's own package (CT_small.dcm, 128 x 128, GE). Run as `python -m medley.apps.demo FOLDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pydicom

import medley
from medley.apps._options import RESTORER
from medley.apps._tables import new_table, show
from medley.apps._terminal import complain, say, show_notices
from medley.apps.jobs import Job
from medley.apps.restore import restore_one
from medley.errors import MedleyError
from medley.inference.loading import load_restorer
from medley.io.files import Scan, read, write
from medley.metrics.image import score
from medley.physics import create_degradation
from medley.plots.pictures import grey
from medley.runtime.atomic import replacing
from medley.tasks import task_named

TASK = "ct-denoise"


def demo(folder: Path, model: str = RESTORER) -> dict[str, dict[str, float]]:
    """Write the demo into `folder`, replacing an earlier one, and print the scores before and after restoration.

    Returns
    -------
    {"before" and "after": {"psnr", "ssim", "rmse"}}, compared with the original slice, with the papers' protocol.
    """
    original = read(Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm")
    task = task_named(TASK)
    degradation = create_degradation(**task.degradation)
    parameters = degradation.draw(np.random.default_rng(0))
    worse = degradation.apply(original, parameters).load()
    restorer = load_restorer(model)
    low, restored = folder / "ct-low-dose", folder / "ct-restored"
    write(
        worse,
        low,
        derivation=f"medley {medley.__version__} degraded by {degradation.name}",
        mark="medley degraded",
        overwrite=True,
    )
    job = Job(Scan(low, None, "ct-low-dose"), restored, folder / "report.html")
    restore_one(restorer, job, {"task": TASK}, overwrite=True)
    better = read(restored)
    for name, volume in (("original", original), ("low-dose", worse), ("restored", better)):
        write(volume, folder / f"ct-{name}.nii.gz", overwrite=True)
    strip = np.concatenate([np.asarray(volume.data)[0] for volume in (original, worse, better)], axis=1)
    with replacing(folder / "original-lowdose-restored.png", overwrite=True) as temporary:
        temporary.write_bytes(grey(strip, task.window, zoom=3))
    scores = {"before": score(worse, original, TASK), "after": score(better, original, TASK)}
    table = new_table(f"CT at {parameters['dose']:.0%} dose", "PSNR, dB", "SSIM", "RMSE, HU")
    for name, values in scores.items():
        table.add_row(name, f"{values['psnr']:.2f}", f"{values['ssim']:.4f}", f"{values['rmse']:.2f}")
    show(table)
    say(f"The report is {folder / 'report.html'}; the DICOM, NIfTI and PNG files are in the same folder.")
    return scores


if __name__ == "__main__":
    show_notices()
    try:
        demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output"))
    except MedleyError as error:
        complain(str(error))
        sys.exit(1)
