"""Seconds and memory of the networks on this machine, compared with the least that is possible.

    python -m benchmarks.speed                               as `make bench`: slices, a batch, training steps
    python -m benchmarks.speed --plain --untuned -o FILE.csv compared with the textbook forms
    python -m benchmarks.speed --quick --networks tat-tiny   a quick test

Every time is the shortest of a few runs after a warm-up, in a separate process, so that the memory is that of this case
alone. Forms that are compared alternate, run by run; `ratio` is the median of a form's seconds divided by those of the
fast form in the same turn. `floor_seconds` is the time that the machine would need if it multiplied matrices, or copied
memory, at its highest rate all the time (benchmarks/floor.py); `share` is floor_seconds / seconds.
"""

from __future__ import annotations

import argparse
import csv
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import FAST, ONNX, PLAIN, PROGRAM, STEPS, UNTUNED, Case, in_process, prepare, process
from benchmarks.floor import Rates, Work, measure_rates, measure_work
from medley.models.precision import PRECISIONS
from medley.models.zoo import NETWORKS, is_multitask

NETWORKS = tuple(name for name in NETWORKS if not is_multitask(name))
PAPER_SIZE = ("tat", "amir", "restormer")
WHAT = ("slices", *STEPS, "volume")
USUAL = ("slices", "step", "lean step")
HEADERS = (
    "network", "what", "count", "side", "precision", "form", "seconds", "peak_MB", "floor_seconds", "share", "ratio",
    "threads", "torch",
)  # fmt: skip
WRITTEN = "rows of the same case and form are replaced"
KEY = HEADERS[: HEADERS.index("form") + 1]  # identifies a row
SHOWN = {name: max(len(name), 9) for name in HEADERS[:-2]} | {"form": 13}  # column -> its width
Row = dict[str, Any]

_once: Callable[[], None]  # in the process of a case: runs it once


def main() -> None:
    options = arguments()
    rates = {precision: in_process(measure_rates, precision, *options.rates) for precision in options.precisions}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for precision, rate in rates.items():
        print(f"{precision}: products {rate.operations / 1e9:.0f} GFLOP/s, copies {rate.bytes / 1e9:.1f} GB/s")
    print(line(dict(zip(SHOWN, SHOWN, strict=True))), flush=True)
    for case in cases(options):
        try:
            found = measure(case, forms(case, options), options.runs, rates[case.precision])
        except RuntimeError as error:
            print(f"{case.network} {case.what} of {case.side} in {case.precision} left out: {error}", flush=True)
            continue
        print("\n".join(map(line, found)), flush=True)
        if options.output:
            write(options.output, found)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=PAPER_SIZE, choices=NETWORKS, metavar="NAME")
    parser.add_argument("--sides", nargs="+", type=int, metavar="PIXELS", help="of single slices; 128 256 512")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--runs", type=int, default=3, help="the shortest counts")
    parser.add_argument("--plain", action="store_true", help="also the textbook form")
    parser.add_argument("--untuned", action="store_true", help="also the textbook form with the default allocator")
    parser.add_argument("--exported", action="store_true", help="also the files of `medley export`, in float32")
    parser.add_argument(
        "--what", nargs="+", default=USUAL, choices=WHAT,
        help="a whole step takes 12 GB and more; a volume is a CT of 64 slices of 512 x 512 through restore",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small sizes, one run")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.csv", help=WRITTEN)
    options = parser.parse_args()
    options.sides = options.sides or ([48, 64] if options.quick else [128, 256, 512])
    options.patch, options.volume_slices, options.volume_side = (48, 4, 64) if options.quick else (128, 64, 512)
    options.rates = (1024, 64) if options.quick else ()
    options.runs = 1 if options.quick else options.runs
    return options


def cases(options: argparse.Namespace) -> Iterator[Case]:
    for network, precision in product(options.networks, options.precisions):
        for what in options.what:
            if what == "slices":
                yield from (Case(network, what, 1, side, precision) for side in options.sides)
                yield Case(network, what, 8, options.patch, precision)
            elif what == "volume":
                yield Case(network, what, options.volume_slices, options.volume_side, precision)
            else:
                yield Case(network, what, 4, options.patch, precision)


def forms(case: Case, options: argparse.Namespace) -> list[str]:
    """The `restore` command and recomputation have no textbook form."""
    if case.what in ("volume", "lean step"):
        return [FAST]
    exported = options.exported and case.what == "slices" and case.precision == "float32"
    return [FAST, *[PLAIN] * options.plain, *[UNTUNED] * options.untuned, *[ONNX, PROGRAM] * exported]


def measure(case: Case, forms: Sequence[str], runs: int, rates: Rates) -> list[Row]:
    """A row for each form.

    Raises
    ------
    RuntimeError: the case is not possible, or needs too much memory (BrokenProcessPool: the process was killed).
    """
    # Whole batches run one after the other: two of these processes may not fit into memory.
    groups = [[form] for form in forms] if case.what == "whole step" else [list(forms)]
    seconds: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}
    for group in groups:
        with ExitStack() as stack:
            processes = {form: stack.enter_context(process()) for form in group}
            for form, one in processes.items():
                one.submit(begin, case, form).result()
            turns = [{form: one.submit(timed).result() for form, one in processes.items()} for _ in range(runs)]
            seconds |= {form: [turn[form] for turn in turns] for form in group}
            peaks |= {form: one.submit(peak, case.what == "volume").result() for form, one in processes.items()}
    floor = work(case.network, case.side).floor(rates) * case.passes
    return [
        {
            "network": case.network, "what": case.what, "count": case.count, "side": case.side,
            "precision": case.precision, "form": form, "seconds": f"{min(seconds[form]):.3f}", "peak_MB": peaks[form],
            "floor_seconds": f"{floor:.3f}", "share": f"{floor / min(seconds[form]):.2f}",
            "ratio": f"{statistics.median(a / b for a, b in zip(seconds[form], seconds[FAST], strict=True)):.2f}",
            "threads": torch.get_num_threads(), "torch": torch.__version__,
        }
        for form in forms
    ]  # fmt: skip


def begin(case: Case, form: str) -> None:
    """In the process of the case: prepare it and, unless it takes minutes, run it once as a warm-up."""
    global _once
    _once = prepare(case, form)
    if case.what != "volume":
        _once()


def timed() -> float:
    """In its process: seconds of one run."""
    begun = time.perf_counter()
    _once()
    return time.perf_counter() - begun


def peak(of_children: bool) -> int:
    """In its process: the most memory that was resident, in MB, of this process or of the commands that it ran."""
    return resource.getrusage(resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF).ru_maxrss // 1024


@cache
def work(network: str, side: int) -> Work:
    return in_process(measure_work, network, side)


def line(row: Row) -> str:
    return "  ".join(f"{row[name]!s:>{width}}" for name, width in SHOWN.items())


def write(path: Path, rows: Sequence[Row]) -> None:
    """Put rows into a file, in place of older ones of the same case and form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    older = []
    if path.exists():
        with path.open(newline="") as file:
            older = list(csv.DictReader(file))
    known = {tuple(str(row[name]) for name in KEY): row for row in [*older, *rows]}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADERS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(known.values())


if __name__ == "__main__":
    main()
