"""The file of validation scores of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from warnings import warn

import medley
from medley.errors import MedleyError, MedleyNotice
from medley.scoring.rows import ScoreRow, read_scores, write_scores
from medley.training.recipe import Recipe

NAME = "validation.csv"


class ValidationFile:
    """OUTPUT/validation.csv: the score rows of every validation of a run, with the training step.

    Parameters
    ----------
    recipe: of the run. step: number of finished steps; rows of later steps, from before a resume, are dropped.

    Warns
    -----
    MedleyNotice: the existing file is damaged; it is replaced.
    """

    def __init__(self, recipe: Recipe, step: int) -> None:
        self.path = recipe.output / NAME
        self._seed = recipe.seed
        self._header = {"experiment": f"validation of {recipe.name}", "medley": medley.__version__}
        self._rows = [row for row in self._read() if row.step <= step] if step else []

    def add(self, rows: Sequence[ScoreRow], step: int) -> None:
        """Add the rows of a validation and write the file."""
        self._rows += [replace(row, seed=self._seed, step=step) for row in rows]
        if self._rows:
            write_scores(self._rows, self.path, header=self._header, overwrite=True)

    def _read(self) -> list[ScoreRow]:
        if not self.path.exists():
            return []
        try:
            return read_scores(self.path)[0]
        except MedleyError as error:
            warn(MedleyNotice(f"{error}; the scores of earlier validations are lost"), stacklevel=2)
            return []
