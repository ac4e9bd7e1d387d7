"""The commands `restore`, `predict` and `degrade`: their options and help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medley.apps import _options as options
from medley.tasks import TASKS

app = typer.Typer()
PANEL = "Scans"  # the heading of `medley --help`


@app.command(rich_help_panel=PANEL)
def restore(
    source: options.Input,
    output: options.Output,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A packaged model, or a file: .safetensors or .onnx.")
    ] = options.RESTORER,
    task: Annotated[
        str,
        typer.Option(
            "--task", "-t", callback=options.one_of(TASKS, "auto"), help="auto chooses by the scan's modality."
        ),
    ] = "auto",
    strength: Annotated[
        str,
        typer.Option(
            metavar="0..1|auto",
            help="1: the restored scan; 0: the input; between: a blend of both. auto: as much noise as the training "
            "targets have; a scan without more noise is left as it is.",
        ),
    ] = "1",
    target_noise: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="Choose the strength by the noise of the result: in HU for CT, % of the local mean for PET, % of the "
            "full scale for others.",
        ),
    ] = None,
    scale: Annotated[
        int, typer.Option(callback=options.one_of((1, 2, 4)), help="MR: a grid that is 2 or 4 times finer in-plane.")
    ] = 1,
    keep_measured: Annotated[
        bool, typer.Option("--keep-measured", help="MR: keep the measured part of k-space unchanged.")
    ] = False,
    measured: Annotated[
        str | None,
        typer.Option(
            metavar="ROWSxCOLUMNS", help="MR: that part, as central k-space lines; by default from the DICOM header."
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the scan's noise, in its unit; more removes more. By default it is estimated."
        ),
    ] = None,
    allow_windows: Annotated[
        bool,
        typer.Option(
            "--allow-windows",
            help="If memory is short, restore slices in small windows, which changes values slightly.",
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a report of what was changed; a folder for several.")
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the half-width of the 90 % interval of every voxel: .nii.gz, or .dcm for a DICOM parametric "
            "map; a folder for several scans.",
        ),
    ] = None,
    record: options.Record = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            callback=options.one_of(options.FORMATS),
            help="dicom, nifti, mha or nrrd; by default the format of the input.",
        ),
    ] = None,
    device: options.Device = "auto",
    precision: options.Precision = "float32",
    backend: options.Backend = None,
    plugin: options.Plugins = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Restore scans. The result has the geometry, unit and data type of the input.

    OUT is a file or a DICOM folder for one scan, and a folder for several scans.
    """
    from medley.apps.restore import restore as run

    code = run(
        source,
        output,
        model=model,
        device=device,
        precision=precision,
        backend=backend,
        options={
            "task": task,
            "strength": options.strength(strength),
            "target_noise": target_noise,
            "scale": scale,
            "keep_measured": keep_measured,
            "measured": options.pair(measured, "--measured"),
            "noise": noise,
            "allow_windows": allow_windows,
        },
        page=report,
        uncertainty=uncertainty,
        record=record,
        form=form,
        overwrite=overwrite,
        quiet=quiet,
    )
    raise typer.Exit(code)


@app.command(rich_help_panel=PANEL)
def predict(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A CT or a photograph, or a folder of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The folder for the results.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A packaged model, or a .safetensors file.")],
    structures: Annotated[
        Path | None,
        typer.Option(
            metavar="RTSTRUCT.dcm", help="Structures of the scan: input of models that need them, or for comparison."
        ),
    ] = None,
    structure_names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="What the names in RTSTRUCT.dcm mean: columns name, structure. By default: TG-263 names.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Predict also from a scan that is unlike the training scans of the model.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a report with pictures; a folder for several.")
    ] = None,
    record: options.Record = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            callback=options.one_of(options.FORMATS[:2]),
            help="dicom or nifti only; by default all formats that are possible.",
        ),
    ] = None,
    device: options.Device = "auto",
    plugin: options.Plugins = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Predict doses, structures and diagnoses from a scan with one network.

    Doses and structures are written as NIfTI, and as RTDOSE, SEG and RTSTRUCT for a DICOM scan; all numbers as
    prediction.json.
    """
    from medley.apps.predict import predict as run

    code = run(
        source,
        output,
        model=model,
        structures=structures,
        structure_names=structure_names,
        force=force,
        device=device,
        page=report,
        record=record,
        form=form,
        overwrite=overwrite,
        quiet=quiet,
    )
    raise typer.Exit(code)


@app.command(rich_help_panel=PANEL)
def degrade(
    source: options.Input,
    output: options.Output,
    task: Annotated[
        str,
        typer.Option("--task", "-t", callback=options.one_of(TASKS), help="The task whose degradation is applied."),
    ],
    seed: options.Seed = 0,
    settings: options.Settings = None,
    plugin: options.Plugins = None,
    json: Annotated[bool, typer.Option("--json", help="Print the parameters too.")] = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Degrade a good scan, for tests and training; the parameters are written to OUT.json."""
    from medley.apps.degrade import degrade as run

    code = run(source, output, task, seed=seed, settings=settings or [], show=json, overwrite=overwrite, quiet=quiet)
    raise typer.Exit(code)
