"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from medley.runtime.plugins import load_plugins
from medley.runtime.text import did_you_mean
from medley.tasks import TASKS

FORMATS = ("dicom", "nifti", "mha", "nrrd")
PRECISIONS = ("float32", "bfloat16")
BACKENDS = ("torch", "onnx")
ORIGINALS = ("tat", "amir", "restormer", "unih3")  # networks whose authors published checkpoints
RESTORER = "slab"  # the model of `restore` and of the demo, unless another is given
SPLITS = ("train", "valid", "test")


def one_of(allowed: Collection[object], *more: object):  # type: ignore[no-untyped-def]  # typer uses annotations
    """A callback that accepts these values only, for an option with one value or a list of them."""

    def check(value):  # type: ignore[no-untyped-def]
        for one in value if isinstance(value, list) else [value]:
            if one is not None and one not in allowed and one not in more:
                options = [str(option) for option in (*more, *allowed)]
                raise typer.BadParameter(f"{one!r} is not one of {', '.join(options)}{did_you_mean(one, options)}")
        return value

    return check


def _load(context: typer.Context, files):  # type: ignore[no-untyped-def]
    """Run plugins, before the values of other options are checked; not while a shell completes a command."""
    if not context.resilient_parsing:
        load_plugins(files or [])
    return files


def pair(text: str | None, name: str) -> tuple[int, int] | None:
    """Two positive whole numbers, such as 256x192; None for None."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6}) *[x×,] *(\d{1,6})", text.strip().lower())
    if not match or not (int(match[1]) and int(match[2])):
        raise typer.BadParameter(f"{name} is {text!r}; expected ROWSxCOLUMNS, such as 256x192")
    return int(match[1]), int(match[2])


def strength(text: str) -> str | float:
    """ "auto", or a number from 0 to 1.

    Raises
    ------
    typer.BadParameter: neither.
    """
    if text == "auto":
        return text
    try:
        if 0 <= float(text) <= 1:
            return float(text)
    except ValueError:
        pass
    raise typer.BadParameter(f"--strength is {text!r}; expected a number from 0 to 1, or auto")


Input = Annotated[Path, typer.Argument(metavar="IN", help="A file, a DICOM series, a zip, or a folder of them.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The path of the result.")]
Csv = Annotated[Path, typer.Option("--output", "-o", metavar="FILE.csv", help="The table of scores to write.")]
Folder = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder of results: a table, figures and a page.")
]
Recipe = Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="The recipe, a YAML file.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Record = Annotated[
    Path | None, typer.Option("--json", metavar="FILE|-", help="Write a record of what was done; - prints it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps ...")]
Precision = Annotated[
    str,
    typer.Option("--precision", callback=one_of(PRECISIONS), help="float32; or bfloat16, faster and with less memory."),
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        callback=one_of(BACKENDS),
        help="torch, or onnx for onnxruntime on the CPU; by default the one that the model's file is made for.",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting; can be repeated.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The random seed; the same seed gives the same result.")]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", "-t", callback=one_of(TASKS), help="Only this task; can be repeated."),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        is_eager=True,
        callback=_load,
        help="Run a Python file that adds layouts, tasks, networks or metrics; can be repeated.",
    ),
]
