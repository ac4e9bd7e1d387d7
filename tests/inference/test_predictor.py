"""A predictor's answers lie where the scan is, however it is stored."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from medley.errors import MedleyError
from medley.geometry.body import AIR, find_body
from medley.inference.loading import load_predictor as load
from medley.inference.predictor import Predictor, matched
from medley.models import weights
from medley.models.weights import Description
from medley.models.zoo import create_model
from medley.targets import Target
from medley.tasks import Task
from medley.volume import Volume

GRID, SPACING = (20, 24, 22), (6.0, 5.0, 5.0)
DOSE = Target(name="dose", kind="map", unit="Gy", scale=70, within="possible_dose")
ORGANS = Target(name="organs", kind="structures", names=("Left", "Front", "Head"))
GRADE = Target(name="grade", kind="classes", names=("low", "high"))
CT = Task(
    name="made", title="Made", modality="CT", channels=("CT",), range=(-1000, 1000), unit="HU", grid=GRID,
    spacing=SPACING, targets=(DOSE, ORGANS, GRADE),
)  # fmt: skip
PHOTO = Task(
    name="skin", title="Skin", channels=("red", "green", "blue"), range=(0, 255), grid=(32, 32),
    targets=(Target(name="lesion", kind="structures", names=("lesion",)), GRADE),
)  # fmt: skip

# The middle of the body and its half axes, mm RAS.
MIDDLE, RADII = np.array([12.0, -30.0, 45.0]), np.array([42.0, 48.0, 50.0])


def smooth_body(places: np.ndarray) -> np.ndarray:
    """HU at (..., 3) mm: an ellipsoid whose value differs along every axis, in air."""
    away = (places - MIDDLE) / RADII
    inside = np.clip((1.05 - np.linalg.norm(away, axis=-1)) * 6, 0, 1)  # a rim as soft as the grid is coarse
    return AIR + inside * (1000 + 150 * away @ np.array([0.5, 0.9, 0.7]))


def scan(
    axes: str = "ILP", spacing: tuple[float, float, float] = (3.0, 2.5, 2.5), turn: float = 0.0, reach: float = 68.0,
    field: Callable[[np.ndarray], np.ndarray] = smooth_body,
) -> Volume:  # fmt: skip
    """The body on a grid whose (slice, row, column) go to `axes`, turned by `turn` degrees about the body's middle."""
    towards = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    tilt = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    shape = [int(2 * reach / step) for step in spacing]
    affine = np.eye(4)
    affine[:3, :3] = tilt @ np.array([towards[axis] for axis in axes]).T * spacing
    affine[:3, 3] = MIDDLE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Volume(field(places(affine, shape)).astype(np.float32), affine, "CT", "HU")


def places(affine: np.ndarray, shape: tuple[int, ...] | list[int]) -> np.ndarray:
    """The mm of every voxel, (*shape, 3)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


class Known(nn.Module):
    """Answers what is known: the dose is the CT itself, the organs are halves of the grid, the grade is 0.75 low."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen.append(x)
        index = torch.meshgrid(*(torch.arange(n) for n in x.shape[2:]), indexing="ij")
        slices, rows, columns = (i - (n - 1) / 2 for i, n in zip(index, x.shape[2:], strict=True))
        organs = torch.stack([columns, -rows, -slices])  # logits: 0 in the middle of the grid
        return {"dose": x[:, :1], "organs": organs[None], "grade": torch.log(torch.tensor([[0.75, 0.25]]))}


def describe(task: Task = CT, tasks: tuple[str, ...] = (), inputs: tuple[str, ...] = ("image",)) -> Description:
    tasks = tasks or tuple(target.name for target in task.targets)
    return Description("known", "ctan", {}, tasks, {}, "0", task.model_dump(mode="json"), inputs)


def predictor(**changes: Any) -> Predictor:
    return Predictor(Known(), describe(**changes))


STORED = [
    ("IPL", (3.0, 2.5, 2.5), 0.0),
    ("SPL", (3.0, 2.5, 2.5), 0.0),  # as DICOM's axial slices come
    ("SAR", (3.0, 2.5, 2.5), 0.0),
    ("LIP", (2.0, 3.0, 2.5), 0.0),  # sagittal
    ("ASR", (2.0, 2.0, 3.0), 0.0),
    ("SPL", (8.0, 1.1, 1.1), 0.0),
    ("SPL", (3.0, 1.7, 1.7), 17.0),
]


@pytest.mark.parametrize(("axes", "spacing", "turn"), STORED)
def test_every_output_has_its_position_in_the_patient(axes, spacing, turn) -> None:
    ct = scan(axes, spacing, turn)
    answer = predictor().predict(ct)
    away = places(ct.affine, ct.shape) - MIDDLE
    inside = np.linalg.norm(away / RADII, axis=-1) < 0.6
    # The dose is the CT, there a linear field, which linear interpolation keeps.
    expected = (ct.data + 1000) / 2000 * 70
    assert np.abs(answer.maps["dose"].data - expected)[inside].max() < 0.05
    halves = {"Left": -away[..., 0], "Front": away[..., 1], "Head": away[..., 2]}
    reach = (np.abs(away / [55, 60, 60]) < 0.95).all(axis=-1)  # of the grid: half of 22 x 5, 24 x 5, 20 x 6 mm
    for name, side in halves.items():
        sure = reach & (np.abs(side) > 3.1)  # the grid's middle is the body's, to half a voxel
        np.testing.assert_array_equal(answer.masks["organs"][name][sure], side[sure] > 0, err_msg=name)
    assert answer.probabilities["grade"] == pytest.approx({"low": 0.75, "high": 0.25})
    assert answer.maps["dose"].shape == ct.shape


def test_the_dose_is_zero_outside_the_body() -> None:
    ct = scan()
    dose = predictor().predict(ct).maps["dose"].data
    far = np.linalg.norm((places(ct.affine, ct.shape) - MIDDLE) / RADII, axis=-1) > 1.15
    assert (dose[far] == 0).all()
    assert dose.max() > 30


@pytest.mark.parametrize("flips", [(0,), (1,), (2,), (0, 1, 2)])
def test_the_same_scan_stored_another_way_round_gets_the_same_answer(flips) -> None:
    """Head first or feet first, mirrored storage: the network sees the very same numbers."""
    ct = scan("SPL", (3.3, 1.9, 1.9))
    affine = ct.affine.copy()
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (ct.shape[axis] - 1)
        affine[:3, axis] *= -1
    turned = Volume(np.flip(ct.data, flips), affine, "CT", "HU")
    ours, theirs = predictor(), predictor()
    one, other = ours.predict(ct), theirs.predict(turned)
    torch.testing.assert_close(ours._model.seen[0], theirs._model.seen[0], atol=1e-5, rtol=0)
    np.testing.assert_allclose(np.flip(other.maps["dose"].data, flips), one.maps["dose"].data, atol=1e-3)
    for name, mask in one.masks["organs"].items():
        assert (np.flip(other.masks["organs"][name], flips) != mask).mean() < 1e-3  # a probability of 0.5 may tip


def test_a_scan_on_the_networks_own_grid_is_seen_as_it_is() -> None:
    ct = scan("IPL", SPACING, reach=0)
    shape = GRID
    affine = ct.affine.copy()
    affine[:3, 3] = MIDDLE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    ct = Volume(smooth_body(places(affine, shape)).astype(np.float32), affine, "CT", "HU")
    ours = predictor()
    ours.predict(ct)
    seen = ours._model.seen[0][0, 0].numpy()
    body = find_body(ct.data)
    np.testing.assert_allclose(seen, np.where(body, (ct.data + 1000) / 2000, 0).clip(0, 1), atol=1e-5)


def test_parts_outside_of_the_grid_are_reported_and_empty() -> None:
    def tall(where: np.ndarray) -> np.ndarray:
        return AIR + 1000 * (np.linalg.norm((where - MIDDLE) / (RADII * [1, 1, 3]), axis=-1) < 1)

    ct = scan("SPL", (5.0, 4.0, 4.0), reach=170, field=tall)
    answer = predictor().predict(ct)
    heights = places(ct.affine, ct.shape)[:, 0, 0, 2] - MIDDLE[2]
    first, last = answer.slices
    assert np.abs(heights[[first, last]]).max() == pytest.approx(60, abs=5)
    assert not answer.maps["dose"].data[: first - 1].any()
    assert not answer.maps["dose"].data[last + 2 :].any()
    assert answer.maps["dose"].data[(first + last) // 2].any()
    assert answer.outside == pytest.approx(0.41, abs=0.05)  # of a half axis of 150 mm, cut at 60
    assert predictor().predict(scan()).outside == 0


def test_a_couch_is_no_body() -> None:
    def sheet(where: np.ndarray) -> np.ndarray:
        return (np.abs(where[..., 1] - (MIDDLE[1] - 54)) < 3) & (np.abs(where[..., 0] - MIDDLE[0]) < 60)

    ct = scan(field=lambda where: np.where(sheet(where), 100, smooth_body(where)))
    where = places(ct.affine, ct.shape)
    dose = predictor().predict(ct).maps["dose"].data
    beside = sheet(where) & (np.abs(where - MIDDLE)[..., [0, 2]] > 30).any(axis=-1)
    assert (dose[beside] > 0).mean() < 0.01
    middle = np.linalg.norm((where - MIDDLE) / RADII, axis=-1) < 0.6
    np.testing.assert_allclose(dose[middle], (ct.data[middle] + 1000) / 2000 * 70, atol=0.05)


def test_the_windpipe_belongs_to_the_body() -> None:
    hu = np.full((9, 30, 30), AIR)
    hu[:, 5:25, 5:25] = 0
    hu[:, 12:16, 12:16] = AIR
    assert find_body(hu)[:, 5:25, 5:25].all()
    assert not find_body(hu)[:, :4].any()


NEEDS = describe(tasks=("dose",), inputs=("image", "organs", "possible_dose"))


def test_structures_go_into_the_network_at_their_place() -> None:
    ct = scan("SAR", (3.0, 2.5, 2.5))
    away = places(ct.affine, ct.shape) - MIDDLE
    left = (np.abs(away) < 30).all(axis=-1) & (away[..., 0] < 0)
    ours = Predictor(Known(), NEEDS)
    assert ours.needs == ("Left", "Front", "Head")
    ours.predict(ct, {"LEFT_": left, "Tongue": left})
    seen = ours._model.seen[0][0].numpy()
    assert seen.shape == (1 + 3 + 1, *GRID)
    assert not seen[2:4].any()
    columns = np.flatnonzero(seen[1].any(axis=(0, 1)))
    assert (columns >= 10).all()  # columns grow to the left
    assert seen[1].sum() * np.prod(SPACING) == pytest.approx(left.sum() * 3.0 * 2.5 * 2.5, rel=0.2)
    np.testing.assert_array_equal(seen[4] > 0, seen[0] > 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "MR"}, "modality is MR, but known is for CT"),
        ({"unit": "a.u."}, "in a.u., but known needs HU"),
        ({"data": np.zeros((1, 20, 20), np.float32)}, "single slice"),
        ({"data": np.full((9, 20, 20), 40, np.float32)}, "not a CT's in HU: air"),
        ({"data": np.full((9, 20, 20), -1000, np.float32)}, "no body, only air"),
    ],
)
def test_unsuitable_scans_are_refused(change: Mapping[str, Any], message: str) -> None:
    ct = scan()
    with pytest.raises(MedleyError, match=message):
        predictor().predict(ct.with_data(**{"data": ct.data, **change}))


def test_missing_structures_and_other_kinds_of_scans_are_refused() -> None:
    ours = Predictor(Known(), NEEDS)
    with pytest.raises(MedleyError, match=r"needs structures beside the scan \(Left, Front, Head\), but none is given"):
        ours.predict(scan())
    with pytest.raises(MedleyError, match="those given are Tongue"):
        ours.predict(scan(), {"Tongue": np.zeros(scan().shape, bool)})
    with pytest.raises(MedleyError, match="but this is a photograph"):
        ours.predict(np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(MedleyError, match="known is for photographs"):
        predictor(task=PHOTO).predict(scan())
    with pytest.raises(MedleyError, match=r"\(row, column, 3\)"):
        predictor(task=PHOTO).predict(np.zeros((40, 40), np.uint8))


def test_an_output_that_is_not_finite_is_refused() -> None:
    class Broken(Known):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return super().forward(x) | {"dose": x[:, :1] * float("nan")}

    with pytest.raises(MedleyError, match="output for dose is not finite"):
        Predictor(Broken(), describe()).predict(scan())


def test_a_photograph_keeps_its_own_pixels() -> None:
    class Red(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            assert x.shape == (1, 3, 32, 32)
            return {"lesion": 20 * (x[:, :1] - 0.5), "grade": torch.zeros(1, 2)}

    row, column = np.mgrid[:90, :141]
    round_ = (row - 30) ** 2 + (column - 80) ** 2 < 22**2
    image = np.where(round_[..., None], np.array([220, 30, 30]), np.array([30, 220, 220])).astype(np.uint8)
    answer = Predictor(Red(), describe(PHOTO)).predict(image)
    mask = answer.masks["lesion"]["lesion"]
    assert mask.shape == (90, 141)
    assert 2 * (mask & round_).sum() / (mask.sum() + round_.sum()) > 0.95
    assert answer.slices is None


def test_names_of_structures_are_compared_generously() -> None:
    given = ["spinal cord", "PTV_70", "LEFT-Parotid", "leftparotid", "Eye"]
    assert matched(given, ["SpinalCord", "LeftParotid", "PTV70", "Larynx"]) == {
        "SpinalCord": "spinal cord",
        "LeftParotid": "LEFT-Parotid",
        "PTV70": "PTV_70",
    }


def test_weights_give_a_predictor_or_a_restorer(tmp_path) -> None:
    import medley
    from medley.inference.loading import load_restorer
    from medley.inference.restorer import Restorer

    torch.manual_seed(0)
    targets = {target.name: (target.level, target.channels) for target in CT.targets}
    network = create_model("ctan-tiny", width=4, widest=8, heads=2, targets=targets, dimension=3, channels=1)
    path = tmp_path / "small.safetensors"
    said = Description("small", "ctan", network.config, tuple(targets), {}, "0", CT.model_dump(mode="json"), ("image",))
    weights.save(path, network, said)
    ours = medley.load(path)
    assert isinstance(ours, Predictor)
    assert ours.task == CT
    assert len(ours.sha256) == 64
    answer = ours.predict(scan())
    assert set(answer.masks["organs"]) == {"Left", "Front", "Head"}
    assert sum(answer.probabilities["grade"].values()) == pytest.approx(1)
    assert isinstance(medley.load("tat-tiny"), Restorer)
    with pytest.raises(MedleyError, match=r"small does not restore scans, it predicts dose, organs, grade; .*predict"):
        load_restorer(path)
    with pytest.raises(MedleyError, match=r"tat-tiny does not predict, it restores scans .*medley restore"):
        load("tat-tiny")


def test_a_problem_of_whole_scans_squeezes_all_of_it_into_the_grid():
    from medley.geometry.body import lay_along_patient, whole_spacing

    rng = np.random.default_rng(0)
    affine = np.array([[0, 0, -2.0, 50], [0, -3.0, 0, 40], [5.0, 0, 0, -20], [0, 0, 0, 1]])  # from feet to head
    scan = Volume(rng.normal(size=(8, 12, 6)).astype(np.float32), affine, "CT", "HU")
    spacing = whole_spacing(scan.shape, scan.affine, (4, 4, 3))
    array, laid, *_ = lay_along_patient(scan, spacing, -1000.0)
    blocks = scan.data[::-1].reshape(4, 2, 4, 3, 3, 2).mean(axis=(1, 3, 5))  # from head to feet
    np.testing.assert_allclose(array, blocks, atol=1e-5)
    head = scan.affine @ [7 - 0.5, 1, 0.5, 1]  # the middle of the first block
    np.testing.assert_allclose(laid @ [0, 0, 0, 1], head)


def test_the_grid_of_a_whole_scan_has_its_shape_even_where_the_scan_lies_oblique():
    from medley.geometry.body import lay_along_patient, whole_spacing

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [35, 20, 40], degrees=True).as_matrix() @ np.diag([4.0, 2.0, 1.0])
    scan = Volume(np.zeros((10, 20, 30), np.float32), affine, "CT", "HU")
    for grid in ((4, 5, 6), (16, 16, 16)):
        spacing = whole_spacing(scan.shape, affine, grid)
        array, laid, *_ = lay_along_patient(scan, spacing, -1000.0)
        assert array.shape == grid
        corners = np.stack(np.meshgrid(*([-0.5, n - 0.5] for n in scan.shape)), -1).reshape(8, 3)
        places = np.linalg.solve(laid, affine @ np.column_stack([corners, np.ones(8)]).T)[:3].T
        assert (places > -0.5 - 1e-6).all()
        assert (places < np.array(grid) - 0.5 + 1e-6).all()
