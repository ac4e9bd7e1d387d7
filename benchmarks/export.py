"""onnxruntime beside torch, on the CPU: `python -m benchmarks.export [-o FILE.csv]`, which adds its rows to the file.

One slice through each network in float32, as `medley restore` runs it with `--backend torch` and `--backend onnx`. The
two take turns, run by run, each in a process of its own; the least of the runs counts, and `ratio` is the median of a
form's seconds over those of torch in the same turn. `restore` alone: making the file is not in it, but printed.
"""

from __future__ import annotations

import argparse
import csv
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.speed import HEADERS, NETWORKS
from medley.models import export
from medley.models.onnx_network import OnnxNetwork
from medley.models.weights import Description, load, packaged
from medley.models.zoo import create_model

FORMS = ("torch", "onnx")
_once: Callable[[], None]  # in the process of a form


def network(name: str) -> torch.nn.Module:
    """With its packaged weights; fresh ones where there are none."""
    if name in packaged():
        return load(packaged()[name])[0]
    torch.manual_seed(0)
    return create_model(name).eval()


def write(name: str, path: Path) -> tuple[float, float]:
    """Export it; seconds, and the largest difference to the network."""
    model = network(name)
    begun = time.perf_counter()
    difference = export.write(path, model, Description(name, name, model.config, (), {}, ""))
    return time.perf_counter() - begun, difference


def begin(form: str, name: str, path: Path, side: int) -> None:
    global _once
    from medley.allocator import keep_buffers

    keep_buffers()
    model = network(name) if form == "torch" else OnnxNetwork(path)
    image = torch.rand(1, 1, side, side)

    def once() -> None:
        with torch.inference_mode():
            model(image)

    _once = once
    once()


def timed() -> float:
    begun = time.perf_counter()
    _once()
    return time.perf_counter() - begun


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"))


def measure(name: str, side: int, path: Path, runs: int) -> list[dict[str, object]]:
    with process() as one, process() as other:
        processes = dict(zip(FORMS, (one, other), strict=True))
        for form, at in processes.items():
            at.submit(begin, form, name, path, side).result()
        turns = [{form: at.submit(timed).result() for form, at in processes.items()} for _ in range(runs)]
        peaks = {form: at.submit(peak).result() for form, at in processes.items()}
    return [
        {
            "network": name, "what": "slices", "count": 1, "side": side, "precision": "float32", "form": form,
            "seconds": f"{min(turn[form] for turn in turns):.3f}", "peak_MB": peaks[form],
            "ratio": f"{statistics.median(turn[form] / turn['torch'] for turn in turns):.2f}",
            "threads": torch.get_num_threads(), "torch": torch.__version__,
        }
        for form in FORMS
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.export", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=("tat-tiny", "amir-tiny", "tat"), choices=NETWORKS)
    parser.add_argument("--sides", nargs="+", type=int, default=(128, 256))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.csv", help="rows are added to it")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.networks:
            path = Path(folder) / f"{name}.onnx"
            with process() as one:
                seconds, difference = one.submit(write, name, path).result()
            megabytes = path.stat().st_size / 1e6
            print(f"{name}: exported and compared in {seconds:.1f} s, {megabytes:.0f} MB, off by {difference:.1g}")
            for side in asked.sides:
                rows += measure(name, side, path, asked.runs)
                for row in rows[-len(FORMS) :]:
                    shown = ("side", "form", "seconds", "peak_MB", "ratio")
                    print("  ".join(f"{key} {row[key]}" for key in shown), flush=True)
    if asked.output:
        new = not asked.output.exists()
        with asked.output.open("a", newline="") as file:
            writer = csv.DictWriter(file, HEADERS)
            if new:
                writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
