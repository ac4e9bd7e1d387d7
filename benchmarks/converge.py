"""Compares training in bfloat16 with training in float32.

    python -m benchmarks.converge stores/restoration -o results/bfloat16-training.csv

Short runs of a small network from the same seeds, on the same patches, in both precisions: the scores of every
validation (PSNR in dB, on slices of the validation subjects that are not blank), and the mean loss since the last
validation. Compare with the difference between two seeds in float32. Simultaneous runs have one thread each.
"""

from __future__ import annotations

import argparse
import csv
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.speed import NETWORKS
from medley.runtime.allocator import keep_buffers
from medley.training.loop import Progress, train
from medley.training.recipe import RestorationRecipe
from medley.training.settings import Balance, Optimizer, Validation

PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
EVERY = 100  # steps


def run(network: str, precision: str, seed: int, store: Path, steps: int) -> list[dict[str, Any]]:
    """Train once, in a separate process; a row for each validation."""
    keep_buffers()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    losses: list[float] = []

    def note(progress: Progress) -> None:
        losses.append(progress.loss)
        if progress.step % EVERY == 0:
            scores = {task: f"{score:.3f}" for task, score in progress.scores.items()}
            row = {"network": network, "precision": precision, "seed": seed, "step": progress.step}
            rows.append(row | {"loss": f"{sum(losses) / len(losses):.5f}"} | scores)
            losses.clear()

    with TemporaryDirectory() as folder:
        recipe = RestorationRecipe(
            name="short",
            model=network,
            store=store,
            output=Path(folder) / "run",
            seed=seed,
            steps=steps,
            patch=64,
            patches=6,
            identity_start=True,
            precision=PRECISIONS[precision],
            balance=Balance(name="tat"),
            optimizer=Optimizer(learning_rate=1e-3, warmup_steps=50, gradient_clip=1.0),
            ema=0.98,
            validation=Validation(every=EVERY, slices=9),
            accelerator="cpu",
        )
        train(recipe, progress=note)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.converge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path, help="made by `medley prepare`")
    parser.add_argument("--networks", nargs="+", default=("tat-tiny", "amir-tiny"), choices=NETWORKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--beside", type=int, default=2, help="runs at a time")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.csv", required=True, help="is replaced")
    options = parser.parse_args()
    runs = list(product(options.networks, options.seeds, PRECISIONS))
    with ProcessPoolExecutor(options.beside, get_context("spawn"), max_tasks_per_child=1) as pool:
        futures = [pool.submit(run, name, kind, seed, options.store, options.steps) for name, seed, kind in runs]
        rows = [row for one in futures for row in one.result()]
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
