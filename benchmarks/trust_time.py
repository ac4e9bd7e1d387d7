"""Measures the processor time of the checks of a restoration: `python -m benchmarks.trust_time SCAN`.

Two slices of the middle of a scan go through `slab` and through the checks; printed in seconds a slice.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import medley
from benchmarks.strength import middle_of
from medley.inference.noise import NoiseCurve
from medley.inference.residual import ResidualTest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    options = parser.parse_args()
    scan = middle_of(medley.read(options.scan), 2)
    restorer = medley.load("slab")
    plan = restorer.plan(scan)
    curve = NoiseCurve(plan.task, plan.normalisation, scan.spacing)
    test = ResidualTest(plan)
    before = np.asarray(scan.data)
    begun = time.process_time()
    after = np.asarray(restorer.carry_out(plan).data)
    network = time.process_time()
    for pair in zip(before, after, strict=True):
        curve.add(*pair)
    curve.levels(np.linspace(0, 1, 1001))
    noise = time.process_time()
    for k, pair in enumerate(zip(before, after, strict=True)):
        test(k, *pair)
    ended = time.process_time()
    print(f"network {(network - begun) / 2:.3f}, noise {(noise - network) / 2:.3f}, residual {(ended - noise) / 2:.3f}")


if __name__ == "__main__":
    main()
