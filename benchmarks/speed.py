"""Seconds and memory of the networks on this machine: `python benchmarks/speed.py [-o FILE.csv]`.

Every figure is the least of a few runs after one that does not count, in a process of its own, so that the memory is
that of this one case. `slice` is one image through the network; `step` is forward and backward for a batch of 4.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import resource
import sys
import time

NETWORKS = ("tat", "amir", "restormer", "tat-tiny", "amir-tiny")
CASES = (("slice", 128), ("slice", 256), ("step", 64), ("step", 128))
STEP_BATCH = 4
LARGE_STEP = {("tat", 128), ("amir", 128), ("restormer", 128)}  # 12 GB and more: only when asked for
HEADERS = ("network", "what", "side", "seconds", "peak_MB", "threads", "torch")


def measure(network: str, what: str, side: int, runs: int) -> tuple[float, int, int, str]:
    """(seconds, peak resident memory in MB, threads, torch's version) of one case."""
    import torch

    from medley.allocator import keep_buffers
    from medley.models.zoo import create_model

    keep_buffers()
    torch.manual_seed(0)
    model = create_model(network)
    image = torch.rand(STEP_BATCH if what == "step" else 1, 1, side, side)

    def once() -> None:
        if what == "slice":
            with torch.inference_mode():
                model.eval()(image)
        else:
            model.train()(image).abs().mean().backward()
            model.zero_grad()

    once()
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return min(seconds), peak, torch.get_num_threads(), torch.__version__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="also steps of the full-size networks at 128 x 128")
    parser.add_argument("-o", "--output", help="CSV to write")
    asked = parser.parse_args()
    rows = []
    print("  ".join(f"{name:>9}" for name in HEADERS))
    for network in asked.networks:
        for what, side in CASES:
            if what == "step" and (network, side) in LARGE_STEP and not asked.large:
                continue
            with multiprocessing.get_context("spawn").Pool(1) as process:
                seconds, *rest = process.apply(measure, (network, what, side, asked.runs))
            rows.append((network, what, side, f"{seconds:.3f}", *rest))
            print("  ".join(f"{value!s:>9}" for value in rows[-1]), flush=True)
    if asked.output:
        with open(asked.output, "w", newline="") as file:
            csv.writer(file).writerows([HEADERS, *rows])


if __name__ == "__main__":
    sys.exit(main())
