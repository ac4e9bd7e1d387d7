"""The command line: options, help texts and exit codes. Each command imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import medley
from medley.apps.terminal import DEBUG, complain, explain, say
from medley.errors import MedleyNotice
from medley.runtime.allocator import keep_buffers
from medley.runtime.signals import exit_code, raise_on_termination
from medley.runtime.temporary import remove_abandoned
from medley.runtime.text import did_you_mean
from medley.tasks import TASKS

# What typer handles itself, and a reader such as `head` that has closed the pipe. The base class of wrong usage has no
# public name: older versions of typer use the package click, newer ones a copy of it.
_PASSED_ON: tuple[Any, ...] = (typer.Exit, typer.Abort, typer.BadParameter.__mro__[2], BrokenPipeError)


class _Commands(TyperGroup):
    """The commands, each with the same handling of errors and interrupts."""

    def invoke(self, context: Any) -> Any:
        """Run a command; an exception becomes one line and an exit code, a traceback is shown with --debug only."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt as interrupt:
            say("interrupted; finished results are kept, unfinished ones are removed")
            raise typer.Exit(exit_code(interrupt)) from interrupt
        except _PASSED_ON:
            raise
        except Exception as error:
            complain(explain(error))
        raise typer.Exit(1)


app = typer.Typer(
    cls=_Commands,
    help="Restore MR, CT and PET scans with one network. Not for diagnosis.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some of several scans failed, 130 interrupted by Ctrl-C, "
    "143 terminated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FORMATS = ("dicom", "nifti", "mha", "nrrd")
PRECISIONS = ("float32", "bfloat16")
BACKENDS = ("torch", "onnx")


def _one_of(allowed: tuple[object, ...]):  # type: ignore[no-untyped-def]  # typer would parse with the callback's annotations
    def check(value):  # type: ignore[no-untyped-def]
        values = value if isinstance(value, list) else [value]
        for one in values:
            if one is not None and one not in allowed:
                options = [str(option) for option in allowed]
                raise typer.BadParameter(f"{one!r} is not one of {', '.join(options)}{did_you_mean(one, options)}")
        return value

    return check


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"medley {medley.__version__}")
        raise typer.Exit


Input = Annotated[Path, typer.Argument(metavar="IN", help="A file, a DICOM series, a zip, or a folder of them.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Where the result goes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE|-", help="Record of what was done; - prints it.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps ...")]
Precision = Annotated[
    str, typer.Option("--precision", callback=_one_of(PRECISIONS), help="float32, or bfloat16: faster, less memory.")
]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting; repeats.")]


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show the traceback of unexpected errors. Also: {DEBUG}=1.")
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG] = "1"


@app.command()
def restore(
    source: Input,
    output: Output,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A packaged name, or a file of weights or ONNX.")
    ] = "tat-tiny",
    task: Annotated[
        str,
        typer.Option("--task", "-t", callback=_one_of(("auto", *TASKS)), help="auto takes it from the modality."),
    ] = "auto",
    strength: Annotated[float, typer.Option(min=0, max=1, help="0 gives the input, 1 the network's answer.")] = 1.0,
    scale: Annotated[int, typer.Option(callback=_one_of((1, 2, 4)), help="MR: a grid 2 or 4 times finer.")] = 1,
    keep_measured: Annotated[bool, typer.Option("--keep-measured", help="MR: put measured k-space back.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="A page that shows what changed.")] = None,
    json: Json = None,
    form: Annotated[
        str | None,
        typer.Option("--format", callback=_one_of(FORMATS), help="dicom, nifti, mha, nrrd; else as the input."),
    ] = None,
    device: Device = "cpu",
    precision: Precision = "float32",
    backend: Annotated[
        str | None,
        typer.Option(callback=_one_of(BACKENDS), help="torch, or onnx: onnxruntime, on the CPU; else as the model is."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Restore scans: same geometry, unit and type as the input.

    OUT is the file or DICOM folder of one scan, or the folder for the results of several.
    """
    from medley.apps.restore import restore as run

    options = {"task": task, "strength": strength, "scale": scale, "keep_measured": keep_measured}
    code = run(
        source,
        output,
        model=model,
        device=device,
        precision=precision,
        backend=backend,
        options=options,
        page=report,
        record=json,
        form=form,
        overwrite=overwrite,
        quiet=quiet,
    )
    raise typer.Exit(code)


@app.command()
def predict(
    source: Annotated[Path, typer.Argument(metavar="SCAN", help="A CT or a photograph, or a folder of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The folder for the answers.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A packaged name or a weights file.")],
    structures: Annotated[
        Path | None, typer.Option(metavar="RTSTRUCT.dcm", help="Outlines drawn on the scan: as input, or to compare.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="A page that shows the answers.")] = None,
    json: Json = None,
    form: Annotated[
        str | None,
        typer.Option("--format", callback=_one_of(("dicom", "nifti")), help="dicom, nifti; else all that can be made."),
    ] = None,
    device: Device = "cpu",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Predict doses, structures and diagnoses from a scan with one network.

    OUT gets dose and structures as NIfTI (and as RTDOSE and SEG for a DICOM scan), and all numbers as prediction.json.
    """
    from medley.apps.predict import predict as run

    code = run(
        source,
        output,
        model=model,
        structures=structures,
        device=device,
        page=report,
        record=json,
        form=form,
        overwrite=overwrite,
        quiet=quiet,
    )
    raise typer.Exit(code)


@app.command()
def degrade(
    source: Input,
    output: Output,
    task: Annotated[str, typer.Option("--task", "-t", callback=_one_of(tuple(TASKS)), help="What to undo later.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same scan.")] = 0,
    settings: Settings = None,
    json: Annotated[bool, typer.Option("--json", help="Print the parameters too.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make a good scan worse, as a task expects it; the parameters go to OUT.json."""
    from medley.apps.degrade import degrade as run

    code = run(source, output, task, seed=seed, settings=settings or [], show=json, overwrite=overwrite, quiet=quiet)
    raise typer.Exit(code)


@app.command()
def prepare(
    layout: Annotated[str, typer.Argument(help="How it lies on disk: folder, openkbp, ham10000, stoic, dicom_rt.")],
    source: Annotated[Path, typer.Argument(help="The data set.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="STORE", help="The store to make or go on with.")],
    table: Annotated[Path | None, typer.Option(help="The layout's table, where it is not beside the data.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Leave files out; repeats.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="TASK.NAME=VALUE", help="Change a degradation; repeats.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, help="Cases: pixels or voxels along each axis; else the layout's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides every degradation.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Turn a data set into a store to train on: pairs of good scans, or cases with targets."""
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
        quiet=quiet,
    )


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml")],
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the recipe's output folder.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a network as a recipe says."""
    from medley.apps.research import train as run

    run(recipe, settings or [], resume=resume, quiet=quiet)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option("--data", metavar="STORE", help="A store made by medley prepare.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.csv", help="One line a case.")],
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Names or weights files.")] = None,
    classical: Annotated[bool, typer.Option("--classical", help="Tuned classical methods too.")] = False,
    split: Annotated[str, typer.Option(callback=_one_of(("train", "valid", "test")))] = "valid",
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", callback=_one_of(tuple(TASKS)), help="Only this; repeats.")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(metavar="DIR", help="A picture of one case a task.")] = None,
    device: Device = "cpu",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Score models on a store, in the papers' protocol; the input as it is always comes along."""
    from medley.apps.research import evaluate as run

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


@app.command()
def compare(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.csv", help="One line a case.")],
    panels: Annotated[Path | None, typer.Option(metavar="DIR", help="Pictures of one case, method by method.")] = None,
    settings: Settings = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Runs at a time, which share the cores.")] = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Train methods against each other, with several seeds, and score them.

    Stopped and started again, it goes on where it was.
    """
    from medley.apps.compare import compare as run

    run(recipe, output, panels=panels, settings=settings or [], jobs=jobs, overwrite=overwrite, quiet=quiet)


@app.command()
def report(
    scores: Annotated[list[Path], typer.Argument(metavar="SCORES.csv...", help="Tables that medley compare wrote.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER|FILE.html", help="A page; a folder gets all files.")
    ],
    baseline: Annotated[
        str | None, typer.Option(metavar="METHOD", help="What the others are compared to; else as the table says.")
    ] = None,
    panels: Annotated[Path | None, typer.Option(metavar="DIR", help="PNG images for the page.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Turn scores of a comparison into tables with intervals, charts and a page."""
    from medley.apps.report_scores import report as run

    run(scores, output, baseline=baseline, panels=panels, overwrite=overwrite, quiet=quiet)


@app.command()
def models(json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List the packaged models and the networks that can be trained."""
    from medley.apps.listing import models as run

    run(as_json=json)


@app.command()
def tasks(json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List what can be asked of a scan."""
    from medley.apps.listing import tasks as run

    run(as_json=json)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' .pth, .ckpt or .safetensors.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.safetensors")],
    network: Annotated[str, typer.Option("--network", help="tat, amir or restormer.")],
    task: Annotated[
        list[str], typer.Option("--task", "-t", callback=_one_of(tuple(TASKS)), help="What it has learnt; repeats.")
    ],
    settings: Settings = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn a checkpoint of the authors' programs into a weights file of medley."""
    from medley.apps.convert import convert as run

    run(checkpoint, output, network, task, settings=settings or [], overwrite=overwrite)


@app.command()
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A packaged name or a weights file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.onnx|FILE.pt2", help="ONNX, or what torch.export saves.")
    ],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Turn a restorer into a file for other programs, for any size and batch; it is compared with the network."""
    from medley.apps.export import export as run

    run(model, output, overwrite=overwrite, quiet=quiet)


@app.command()
def doctor(json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Check this installation: versions, codecs, packaged weights, extras."""
    from medley.apps.doctor import doctor as run

    raise typer.Exit(0 if run(as_json=json) else 1)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code."""
    keep_buffers()
    raise_on_termination()
    remove_abandoned()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # warnings of libraries are for programmers
        warnings.simplefilter("always", MedleyNotice)
        warnings.showwarning = lambda message, *_: say(f"note: {message}")
    app(arguments, prog_name="medley")


if __name__ == "__main__":
    main()
