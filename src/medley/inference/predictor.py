"""Predictor: a trained multi-task network that computes doses, structures and diagnoses from a scan.

How a volume is resampled to the grid of the network, and the outputs back:

* The scan is averaged down to the spacing of the task, on axes along the patient (`medley.geometry.body`).
* Everything outside the body (air, the couch) is replaced by air, as in radiotherapy data sets.
* The grid is centred on the body, also in the slice direction. Where the grid extends beyond the scan it is filled with
  air; there is no output outside the grid. For tasks with the framing "whole", the
  whole scan is resized to the grid instead.
* Values and probabilities are interpolated linearly at the scan's own voxels; a structure is where its probability
  exceeds 0.5, and a map is zero outside of the body.

A photograph is resized to the grid of the network, and the outputs are resized back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from pydantic import ValidationError

from medley.errors import MedleyError
from medley.geometry.body import AIR, Spread, View, lay_along_patient, view_body, whole_spacing
from medley.geometry.resampling import mask_on_grid, to_size
from medley.inference.training_scans import Likeness, described_scans, input_features
from medley.metrics.dose import is_target
from medley.models.weights import Description
from medley.runtime.text import plain_name
from medley.targets import Target
from medley.tasks import Task
from medley.volume import Volume


@dataclass(frozen=True)
class Prediction:
    """The outputs of a network for a scan, on the grid of the scan.

    Attributes
    ----------
    scan: the input: a volume, or a photograph (row, column, 3).
    maps: {target: a volume in its unit}, without a source: it is written with its own values.
    masks: {target: {structure: bool}}.
    probabilities: {target: {class: 0 to 1}}.
    slices: the first and last slice, counted from 0, that the network's grid reaches; None for a photograph.
    outside: the fraction of the body outside of the network's grid, for which there is no output.
    likeness: the comparison of the scan with the training scans; None for weights that do not describe theirs.
    """

    scan: Volume | np.ndarray
    maps: Mapping[str, Volume] = field(default_factory=dict)
    masks: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    probabilities: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    slices: tuple[int, int] | None = None
    outside: float = 0.0
    likeness: Likeness | None = None


class Predictor:
    """A network with its weights and its description, ready to predict. Created by `medley.load`.

    Attributes
    ----------
    description: that in the weights file. task: input and targets.
    sha256: of the weights file; "" for a network that was not loaded from a file.

    Raises
    ------
    MedleyError: this version of medley cannot predict the task in the description; the description is damaged.
    """

    def __init__(
        self, model: torch.nn.Module, description: Description, device: str | torch.device = "cpu", sha256: str = ""
    ) -> None:
        try:
            self.task = Task.model_validate(dict(description.task))
        except ValidationError as error:
            raise MedleyError(f"{description.name} has a task that this medley cannot read ({error})") from error
        if self.task.modality and self.task.unit != "HU":
            raise MedleyError(f"{description.name} is for {self.task.modality} scans; medley predicts from CT in HU")
        self.targets = tuple(self.task.target(name) for name in description.tasks)
        if not self.task.modality and self._of("map"):
            raise MedleyError(f"{description.name} gives a map of photographs, which medley does not predict")
        self.description = description
        self.sha256 = sha256
        self._scans = described_scans(description, self.task)
        self._device = torch.device(device)
        self._model = model.to(self._device).eval()

    def __repr__(self) -> str:
        targets = [target.name for target in self.targets]
        return f"Predictor({self.description.name!r}, targets={targets}, device={str(self._device)!r})"

    @property
    def needs(self) -> tuple[str, ...]:
        """The structures that must be given with a scan, because the network's input has them; () for most."""
        names = [t.names for t in self.task.targets if t.kind == "structures" and t.name in self.description.inputs]
        return tuple(name for one in names for name in one)

    def predict(
        self, scan: Volume | np.ndarray, structures: Mapping[str, np.ndarray] | None = None, *, force: bool = False
    ) -> Prediction:
        """The outputs of the network for a scan.

        Parameters
        ----------
        scan: a CT in HU with air around the body; for photographs an array (row, column, 3), 0 to 255.
        structures: masks on the grid of the scan, by name, for a network that `needs` some; names are compared by
            `matched`, others are ignored, and a missing one counts as not drawn.
        force: predict also from a scan that is unlike the training scans.

        Raises
        ------
        MedleyError: the scan does not fit the network, or is unlike its training scans; structures are needed and none
            is given; an output is not finite.
        """
        if not self.task.modality:
            return self._predict_photograph(scan, force)
        if not isinstance(scan, Volume):
            raise MedleyError(f"{self.description.name} is for {self.task.modality} scans, but this is a photograph")
        self._check(scan)
        given = self._given(structures or {})
        view = view_scan(scan, self.task)
        likeness = self._compare(view, force)
        outputs = self._run(np.concatenate([self._channels(name, scan, view, given) for name in self._inputs()]))
        spread = Spread(scan, view.affine, view.array.shape)
        return Prediction(
            scan,
            {target.name: self._map(outputs[target.name][0], target, view, spread, scan) for target in self._of("map")},
            {
                target.name: {
                    name: spread.mask(probability)
                    for name, probability in zip(target.names, outputs[target.name], strict=True)
                }
                for target in self._of("structures")
            },
            self._classes(outputs),
            spread.slices,
            view.outside,
            likeness,
        )

    def _predict_photograph(self, image: Volume | np.ndarray, force: bool) -> Prediction:
        if isinstance(image, Volume):
            raise MedleyError(f"{self.description.name} is for photographs, but this is a scan")
        channels = len(self.task.channels)
        if image.ndim != 3 or image.shape[2] != channels:
            raise MedleyError(f"expected a photograph (row, column, {channels}), but its shape is {image.shape}")
        small = to_size(np.moveaxis(image, -1, 0), self.task.grid)
        likeness = self._compare(small, force)
        outputs = self._run(self._scaled(small))
        size = image.shape[:2]
        masks = {
            target.name: {
                name: to_size(probability, size, "linear") > 0.5
                for name, probability in zip(target.names, outputs[target.name], strict=True)
            }
            for target in self._of("structures")
        }
        return Prediction(image, masks=masks, probabilities=self._classes(outputs), likeness=likeness)

    def _compare(self, given: View | np.ndarray, force: bool) -> Likeness | None:
        """The likeness of the input with the training scans; refuses one that is unlike them."""
        if self._scans is None:
            return None
        likeness = self._scans.compare(input_features(given, self.task))
        if likeness.alike or force:
            return likeness
        raise MedleyError(
            f"{likeness.sentence(self.description.name)}; a prediction from it would look convincing but mean nothing: "
            "give a scan like those, or --force (force=True) to predict all the same"
        )

    def _check(self, scan: Volume) -> None:
        task, name = self.task, self.description.name
        if scan.modality not in ("", task.modality):
            raise MedleyError(f"the scan's modality is {scan.modality}, but {name} is for {task.modality}")
        if scan.unit not in ("", task.unit):
            raise MedleyError(f"the scan's values are in {scan.unit}, but {name} needs {task.unit}")
        if scan.shape[0] < 2:
            raise MedleyError(f"the scan is a single slice, but {name} needs a volume")

    def _given(self, structures: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The structures that are needed, by the names of the task."""
        names = matched(structures, self.needs)
        if self.needs and not names:
            what = f"those given are {', '.join(sorted(structures))}" if structures else "none is given"
            raise MedleyError(
                f"{self.description.name} needs structures beside the scan ({', '.join(self.needs)}), but {what}; "
                "give an RTSTRUCT that has some of these names"
            )
        targets = [name for name in self.needs if is_target(name)]
        if targets and not any(name in names and structures[names[name]].any() for name in targets):
            raise MedleyError(
                f"{self.description.name} needs a target ({', '.join(targets)}), but the structures given are "
                f"{', '.join(sorted(structures))}; without a target the dose would be meaningless: rename the target, "
                "or give a table of names"
            )
        return {name: structures[given] for name, given in names.items()}

    def _inputs(self) -> tuple[str, ...]:
        return self.description.inputs or ("image",)

    def _channels(self, name: str, scan: Volume, view: View, given: Mapping[str, np.ndarray]) -> np.ndarray:
        """One input of the network, (channels, *grid): the image, structures, or the region of a map: the body."""
        if name == "image":
            return self._scaled(view.array[None])
        structures = [one for one in self.task.targets if one.kind == "structures" and one.name == name]
        if not structures:
            return view.body[None].astype(np.float32)
        channels = np.zeros((structures[0].channels, *view.array.shape), np.float32)
        for channel, one in zip(channels, structures[0].names, strict=True):
            if one in given:
                channel[...] = mask_on_grid(given[one], scan.affine, view.affine, view.array.shape)
        return channels

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        low, high = self.task.range
        return ((values - low) / (high - low)).clip(0, 1).astype(np.float32)

    @torch.inference_mode()
    def _run(self, channels: np.ndarray) -> dict[str, np.ndarray]:
        """(channels, *grid) -> {target: probabilities (K, *grid) or (K,), or values (1, *grid) in the map's unit}."""
        raw_outputs = self._model(torch.from_numpy(channels)[None].to(self._device))
        outputs = {}
        for target in self.targets:
            raw = raw_outputs[target.name][0].float()
            if not torch.isfinite(raw).all():
                raise MedleyError(f"the network's output for {target.name} is not finite; nothing was written")
            outputs[target.name] = target.decode(raw).cpu().numpy()
        return outputs

    def _of(self, kind: str) -> list[Target]:
        return [target for target in self.targets if target.kind == kind]

    def _classes(self, outputs: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        return {one.name: dict(zip(one.names, outputs[one.name].tolist(), strict=True)) for one in self._of("classes")}

    @staticmethod
    def _map(values: np.ndarray, target: Target, view: View, spread: Spread, scan: Volume) -> Volume:
        dose = target.unit == "Gy"
        data = spread.values(values.clip(min=0) if dose else values, view.body)  # no dose is negative
        return Volume(data, scan.affine, "RTDOSE" if dose else "", target.unit)


def view_scan(scan: Volume, task: Task) -> View:
    """The part of a CT that is the input of a network: on the grid of its task.

    Raises
    ------
    MedleyError: its values are not those of a CT in HU, or it shows no body.
    """
    whole = task.framing == "whole"
    spacing = whole_spacing(scan.shape, scan.affine, task.grid) if whole else task.spacing
    array, affine, low, high = lay_along_patient(scan, spacing, AIR)
    if low > -200 or high > 1e5:
        raise MedleyError(
            f"the scan's values, {low:g} to {high:g}, are not a CT's in HU: air, about -1000, is missing; convert "
            "them to HU, and leave air around the body"
        )
    if whole:
        return View(array, np.ones(array.shape, bool), affine, outside=0.0)
    return view_body(array, affine, task.grid)


def matched(given: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """{name in `wanted`: name in `given`}, equal except for case, spaces, "_" and "-"; the first of several is used."""
    plain: dict[str, str] = {}
    for name in given:
        plain.setdefault(plain_name(name), name)
    return {name: plain[plain_name(name)] for name in wanted if plain_name(name) in plain}
