"""The commands about weights and the installation, `models` to `doctor`: their options and help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medley.apps import _options as options
from medley.tasks import TASKS

app = typer.Typer()
PANEL = "Models and installation"  # the heading of `medley --help`


Rewritten = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE.safetensors", help="Another file; by default FILE itself is changed."),
]


@app.command(rich_help_panel=PANEL)
def models(json: options.AsJson = False) -> None:
    """List the packaged models and the networks that can be trained."""
    from medley.apps.listing import models as run

    run(as_json=json)


@app.command(rich_help_panel=PANEL)
def tasks(json: options.AsJson = False) -> None:
    """List the restoration tasks and what the packaged models predict."""
    from medley.apps.listing import tasks as run

    run(as_json=json)


@app.command(rich_help_panel=PANEL)
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth, .ckpt or .safetensors file of the authors' program.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="The weights file to write.")
    ],
    network: Annotated[
        str,
        typer.Option("--network", callback=options.one_of(options.ORIGINALS), help="tat, amir, restormer or unih3."),
    ],
    task: Annotated[
        list[str],
        typer.Option("--task", "-t", callback=options.one_of(TASKS), help="A task of the network; can be repeated."),
    ],
    settings: options.Settings = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Convert a checkpoint of the authors' programs into a weights file of medley."""
    from medley.apps.convert import convert as run

    run(checkpoint, output, network, task, settings=settings or [], overwrite=overwrite)


@app.command(rich_help_panel=PANEL)
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A packaged model, or a .safetensors file.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="FILE.onnx, FILE.pt2 for torch.export, or FILE.safetensors for weights in half precision.",
        ),
    ],
    plugin: options.Plugins = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Export a restoration network for other programs, or write the weights of any network in half precision."""
    from medley.apps.export import export as run

    run(model, output, overwrite=overwrite, quiet=quiet)


@app.command(rich_help_panel=PANEL)
def describe(
    model: Annotated[Path, typer.Argument(metavar="FILE.safetensors", help="The weights.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="STORE", help="The store of medley prepare that they were trained on.")
    ],
    output: Rewritten = None,
    plugin: options.Plugins = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Write into a weights file what its training scans look like, so that scans unlike them are recognised.

    medley train does this by itself. The tensors stay the same.
    """
    from medley.apps.describe import describe as run

    run(model, data, output, overwrite=overwrite, quiet=quiet)


@app.command(rich_help_panel=PANEL)
def calibrate(
    model: Annotated[Path, typer.Argument(metavar="FILE.safetensors", help="The weights of a restorer.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="STORE", help="A store with training and validation subjects.")
    ],
    output: Rewritten = None,
    table: Annotated[
        Path | None, typer.Option("--table", metavar="FILE.csv", help="Write the measured coverage.")
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    plugin: options.Plugins = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure how wrong a restorer may be, and write it into its weights file, for restore --uncertainty.

    The tensors stay the same.
    """
    from medley.apps.calibrate import calibrate as run

    run(model, data, output, table=table, device=device, seed=seed, overwrite=overwrite, quiet=quiet)


@app.command(rich_help_panel=PANEL)
def doctor(json: options.AsJson = False) -> None:
    """Check the installation: versions, DICOM decoders, packaged weights, optional packages."""
    from medley.apps.doctor import doctor as run

    raise typer.Exit(0 if run(as_json=json) else 1)
