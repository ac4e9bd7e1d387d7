"""The commands of the research panel, from `prepare` to `inspect`: their options and help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medley.apps import _options as options
from medley.data.layouts.layout import LAYOUTS

app = typer.Typer()
PANEL = "Research"  # the heading of `medley --help`
data = typer.Typer(no_args_is_help=True)
app.add_typer(data, name="data", help="Inspect stores.", rich_help_panel=PANEL)


@app.command(rich_help_panel=PANEL)
def prepare(
    layout: Annotated[
        str,
        typer.Argument(help=f"The layout of the data set: {', '.join(LAYOUTS)}."),
    ],
    source: Annotated[Path, typer.Argument(help="The folder of the data set.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="STORE", help="The store to make or to continue.")],
    table: Annotated[Path | None, typer.Option(help="The table of the layout, if it is not with the data.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Leave out matching files; can be repeated.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TASK.NAME=VALUE", help="Change a degradation; can be repeated."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=16, help="Pixels or voxels along each axis; by default the size that the layout suggests."),
    ] = None,
    seed: options.Seed = 0,
    repeat: Annotated[
        int, typer.Option(min=1, metavar="N", help="Store every good scan N times, with independent degradations.")
    ] = 1,
    pseudonyms: Annotated[
        Path | None,
        typer.Option(
            metavar="SECRET",
            help="Replace names by pseudonyms; the file SECRET is created if it does not exist.",
        ),
    ] = None,
    plugin: options.Plugins = None,
    quiet: options.Quiet = False,
) -> None:
    """Convert a data set into a store for training and evaluation."""
    from medley.apps.research import prepare as run

    run(
        layout,
        source,
        output,
        table=table,
        exclude=exclude or [],
        settings=settings or [],
        size=size,
        seed=seed,
        pseudonyms=pseudonyms,
        repeats=repeat,
        quiet=quiet,
    )


@data.command()
def check(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store made by medley prepare.")],
    sheet: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.png|FILE.html", help="Also write a contact sheet; can be repeated."),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """List the contents of a store and find damaged arrays, pairs that do not match, and subjects in two splits.

    The exit code is 1 if there is a problem.
    """
    from medley.apps.check import check as run

    raise typer.Exit(run(store, sheets=sheet or [], overwrite=overwrite, quiet=quiet))


@app.command(rich_help_panel=PANEL)
def train(
    recipe: options.Recipe,
    settings: options.Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the output folder of the recipe.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a network with the settings of a recipe."""
    from medley.apps.research import train as run

    run(recipe, settings or [], resume=resume, quiet=quiet)


@app.command(rich_help_panel=PANEL)
def adapt(
    source: Annotated[
        Path, typer.Argument(metavar="SCANS", help="A folder of good scans, or of plans; or a store made of them.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE.safetensors", help="The weights to write if they improve."),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="The packaged model, or the weights file, to start from.")
    ] = options.RESTORER,
    layout: Annotated[
        str | None,
        typer.Option(help="How plans are organised: openkbp or dicom_rt; by default as for the network's own data."),
    ] = None,
    table: Annotated[Path | None, typer.Option(help="The table of the scans, if it is not with them.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Leave out matching files; can be repeated.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Minutes of training.")] = 30.0,
    work: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for what is made on the way; by default NAME-work.")
    ] = None,
    seed: options.Seed = 0,
    plugin: options.Plugins = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Adapt a network to your own scans, and keep the result if it is better on held-back subjects.

    After an interrupt the same command continues. The exit code is 4 if no task is better; nothing is written then.
    """
    from medley.apps.adapt import adapt as run

    code = run(
        source,
        output,
        model=model,
        layout=layout,
        table=table,
        exclude=exclude or [],
        minutes=minutes,
        work=work,
        seed=seed,
        plugins=plugin or [],
        overwrite=overwrite,
        quiet=quiet,
    )
    raise typer.Exit(code)


@app.command(rich_help_panel=PANEL)
def evaluate(
    output: options.Csv,
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Packaged models or files with weights.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="STORE", help="A store made by medley prepare.")
    ] = None,
    phantom: Annotated[
        Path | None,
        typer.Option(
            "--phantom",
            metavar="FOLDER",
            help="Score on repeated scans of a CT phantom instead; the store is used to tune classical methods only.",
        ),
    ] = None,
    classical: Annotated[
        bool, typer.Option("--classical", help="Also classical methods, tuned on the training subjects.")
    ] = False,
    split: Annotated[
        str, typer.Option(callback=options.one_of(options.SPLITS), help="train, valid or test.")
    ] = "valid",
    task: options.Tasks = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a picture of one record of each task.")
    ] = None,
    device: options.Device = "auto",
    plugin: options.Plugins = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Score models on a store with the papers' protocol, or on a CT phantom; the unchanged input is scored too."""
    from medley.apps.evaluate import evaluate as run
    from medley.apps.evaluate import evaluate_on_phantom

    if phantom is not None:
        if task or split != "valid":
            raise typer.BadParameter("--task and --split choose records of a store; a phantom has none")
        if (data is not None) != classical:
            raise typer.BadParameter("with --phantom, --data and --classical are given together or not at all")
        evaluate_on_phantom(
            models or [],
            phantom,
            output,
            tuning=data,
            pictures=pictures,
            device=device,
            overwrite=overwrite,
            quiet=quiet,
        )
        return
    if data is None:
        raise typer.BadParameter("what to score on is missing: --data STORE or --phantom FOLDER")
    run(
        models or [],
        data,
        output,
        classical=classical,
        split=split,
        tasks=task or None,
        pictures=pictures,
        device=device,
        overwrite=overwrite,
        quiet=quiet,
    )


@app.command(rich_help_panel=PANEL)
def compare(
    recipe: options.Recipe,
    output: options.Csv,
    panels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures of one record for all methods.")
    ] = None,
    settings: options.Settings = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Number of runs at the same time; they share the cores.")
    ] = 1,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Train and score several methods with several random seeds.

    After an interrupt the same command continues; finished runs are not repeated.
    """
    from medley.apps.compare import compare as run

    run(recipe, output, panels=panels, settings=settings or [], jobs=jobs, overwrite=overwrite, quiet=quiet)


@app.command(rich_help_panel=PANEL)
def report(
    scores: Annotated[
        list[Path], typer.Argument(metavar="SCORES.csv...", help="Tables of medley evaluate or compare.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER|FILE.html", help="A page; a folder gets tables and charts too."),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="Compare with this method; by default the one named in the table."),
    ] = None,
    panels: Annotated[Path | None, typer.Option(metavar="DIR", help="A folder of PNG pictures for the page.")] = None,
    plugin: options.Plugins = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn tables of scores into tables with confidence intervals, charts and a page."""
    from medley.apps.report_scores import report as run

    run(scores, output, baseline=baseline, panels=panels, overwrite=overwrite, quiet=quiet)


@app.command(rich_help_panel=PANEL)
def interference(
    recipe: options.Recipe,
    output: options.Folder,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights", metavar="MODEL", help="A packaged model, a weights file or a checkpoint; repeatable."
        ),
    ] = None,
    at: Annotated[
        list[int] | None,
        typer.Option("--at", min=0, metavar="STEP", help="Train in memory and measure at this step; can be repeated."),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layers", metavar="PATTERN", help="Parameters such as encoder1; can be repeated. Default: all."),
    ] = None,
    count: Annotated[
        int, typer.Option("--batches", min=1, metavar="N", help="Number of batches that are averaged.")
    ] = 16,
    other_samples: Annotated[
        bool, typer.Option("--other-samples", help="Losses of other samples than those of the steps.")
    ] = False,
    settings: options.Settings = None,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure how a training step for one task changes the losses of the others, and the cosines of their gradients.

    Uses the losses and training samples of the recipe, and the networks of --weights or of a run of the recipe (--at).
    """
    from medley.apps.interference import interference as run

    run(
        recipe,
        output,
        settings=settings or [],
        weights=weights or [],
        at=at or [],
        layers=layers or [],
        count=count,
        other_samples=other_samples,
        device=device,
        overwrite=overwrite,
        quiet=quiet,
    )


@app.command(rich_help_panel=PANEL)
def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A packaged model or a file with weights.")],
    data: Annotated[Path, typer.Option("--data", metavar="STORE", help="A store made by medley prepare.")],
    output: options.Folder,
    split: Annotated[
        str, typer.Option(callback=options.one_of(options.SPLITS), help="train, valid or test.")
    ] = "valid",
    slices: Annotated[int, typer.Option(min=1, metavar="N", help="Slices of each scan.")] = 4,
    device: options.Device = "auto",
    plugin: options.Plugins = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what a network decides for each task: routing, generated kernels, memory, attention or modulation."""
    from medley.apps.inspect import inspect as run

    run(model, data, output, split=split, slices=slices, device=device, overwrite=overwrite, quiet=quiet)
