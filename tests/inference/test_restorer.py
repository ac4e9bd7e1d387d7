import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from medley.errors import MedleyError, MedleyNotice
from medley.inference import restorer as inference
from medley.inference.loading import load_restorer as load
from medley.inference.restorer import Restorer, normalisation_for
from medley.io.files import open_scan, write
from medley.models import weights
from medley.models.weights import Description
from medley.models.zoo import create_model
from medley.normalisation import Normalisation
from medley.tasks import TASKS, task_named
from medley.volume import Slices, Volume

TINY = {"dim": 4, "blocks": (1, 1, 1, 1), "refinement": 1, "heads": (1, 1, 1, 1)}
AFFINE = np.array([[0, 0, -0.9, 20], [0, -0.8, 0, 30], [3, 0, 0, -50], [0, 0, 0, 1]], float)


class Same(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Brighter(nn.Module):
    """Adds 0.1 to everything."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float("nan")


def describe(tasks: tuple[str, ...] = tuple(TASKS)) -> Description:
    return Description(name="test", architecture="tat", config={}, tasks=tasks, training={}, version="0")


def restorer(network: nn.Module, tasks: tuple[str, ...] = tuple(TASKS)) -> Restorer:
    return Restorer(network, describe(tasks))


@pytest.fixture(scope="module")
def random_network() -> nn.Module:
    torch.manual_seed(0)
    return create_model("tat", **TINY, generator_width=4).eval()


def ct(shape: tuple[int, int, int] = (5, 24, 20), seed: int = 0) -> Volume:
    values = np.random.default_rng(seed).uniform(-1000, 1500, shape).astype(np.float32)
    return Volume(values, AFFINE, "CT", "HU")


def mr(shape: tuple[int, int, int] = (3, 24, 32), seed: int = 0) -> Volume:
    values = np.random.default_rng(seed).gamma(2, 200, shape).astype(np.float32)
    return Volume(values, AFFINE, "MR", "a.u.")


def test_geometry_modality_and_unit_stay(random_network: nn.Module) -> None:
    better = restorer(random_network).restore(ct())
    assert better.shape == (5, 24, 20)
    assert better.data.dtype == np.float32
    np.testing.assert_array_equal(better.affine, AFFINE)
    assert (better.modality, better.unit) == ("CT", "HU")


def test_the_result_does_not_depend_on_the_batch(random_network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    model, scan = restorer(random_network), ct((7, 24, 20))
    together = model.restore(scan).data
    monkeypatch.setattr(inference, "PIXELS_AT_ONCE", 3 * 24 * 20)
    threes = model.restore(scan).data
    monkeypatch.setattr(inference, "PIXELS_AT_ONCE", 1)
    alone = model.restore(scan).data
    assert np.abs(np.asarray(together) - scan.data).max() > 1  # the network does something
    np.testing.assert_allclose(threes, together, atol=0.02)  # HU: 5e-6 of the range
    np.testing.assert_allclose(alone, together, atol=0.02)


@pytest.mark.filterwarnings("ignore:unlike the training scans:medley.errors.MedleyNotice")  # it is noise
@pytest.mark.parametrize(("precision", "relative"), [("float32", 1e-6), ("bfloat16", 5e-4)])
@pytest.mark.parametrize("name", ["tat-tiny", "amir-tiny"])
def test_the_result_does_not_depend_on_the_batch_at_any_size(
    name: str, precision: str, relative: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, scan = load(name, precision=precision), ct((5, 50, 43))  # sides that the network pads
    results = []
    for size in (1, 2, 5):
        monkeypatch.setattr(inference, "PIXELS_AT_ONCE", size * 50 * 43)
        results.append(np.asarray(model.restore(scan).data))
    # The order of sums differs with the shape of a product, so the last bit may; in bfloat16 that is one of eight.
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=0, atol=relative * 4095)


def test_batches_follow_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Watching(Brighter):
        config: ClassVar = {"dim": 8}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return super().forward(x)

    scan = ct((6, 40, 30))
    one = 40 * 30 * 8 * inference._NUMBERS_PER_WIDTH * 4  # bytes for a slice
    results = []
    for free, expected in ((None, [6]), (100 * one, [6]), (8 * one, [4, 2]), (2 * one, [1] * 6), (one, [1] * 6)):
        monkeypatch.setattr(inference, "free_memory", lambda free=free: free)
        results.append(restorer(Watching()).restore(scan).data)
        assert seen == expected
        seen.clear()
    for other in results:
        np.testing.assert_array_equal(other, results[0])


def room_for(pixels: int) -> int:
    """Bytes of free memory in which a network with the default width can process so many pixels."""
    return pixels * inference._WIDTH * inference._NUMBERS_PER_WIDTH * 4


def test_a_slice_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = ct((2, 200, 300))
    monkeypatch.setattr(inference, "free_memory", lambda: room_for(200 * 200))
    model = restorer(Brighter())
    with pytest.raises(MedleyError, match=r"not enough memory for 200 x 300 pixels.*--allow-windows"):
        model.plan(scan)
    with pytest.warns(MedleyNotice, match="200 x 300.*in windows of 128 x 128"):
        plan = model.plan(scan, allow_windows=True)
    assert plan.window == 128
    kept = scan.data + 409.5 > 3071
    np.testing.assert_allclose(model.carry_out(plan).load().data[~kept], scan.data[~kept] + 409.5, atol=0.01)


@pytest.mark.parametrize("pixels", [2**21, 2**20, 2**18])
def test_windows_of_large_slices_do_not_depend_on_the_memory(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    monkeypatch.setattr(inference, "free_memory", lambda: room_for(pixels))
    assert restorer(Brighter()).plan(ct((1, 1100, 1000))).window == 512


def test_windows_of_large_slices_must_fit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "free_memory", lambda: room_for(2**17))
    with pytest.raises(MedleyError, match="not enough memory for 512 x 512 pixels"):
        restorer(Brighter()).plan(ct((1, 1100, 1000)))


def test_strength_blends_and_zero_gives_the_input_exactly(random_network: nn.Module) -> None:
    model, scan = restorer(random_network), ct()
    full = np.asarray(model.restore(scan).data)
    np.testing.assert_array_equal(model.restore(scan, strength=0).data, scan.data)
    half = np.asarray(model.restore(scan, strength=0.5).data)
    np.testing.assert_allclose(half, (full + scan.data) / 2, rtol=1e-5, atol=1e-3)
    with pytest.raises(MedleyError, match="strength must lie between 0 and 1"):
        model.restore(scan, strength=1.5)


def test_values_outside_the_range_stay_and_inside_stay_inside() -> None:
    scan = ct((1, 16, 16))
    scan.data[0, 0, :4] = [-3024, -1025, 3072, 8000]
    scan.data[0, 1, 0] = 3000
    better = np.asarray(restorer(Brighter()).restore(scan).data)
    np.testing.assert_array_equal(better[0, 0, :4], [-3024, -1025, 3072, 8000])
    assert better[0, 1, 0] == 3071
    np.testing.assert_allclose(better[0, 2], scan.data[0, 2] + 409.5, rtol=1e-5)


def test_mr_is_scaled_by_its_own_percentile_and_not_clipped() -> None:
    scan = mr((4, 40, 40))
    high = float(np.percentile(scan.data, 99.9))
    normalisation = normalisation_for(scan, "mr-sr")
    assert (normalisation.low, normalisation.clip) == (0, False)
    assert normalisation.high == pytest.approx(high, rel=1e-6)
    better = restorer(Brighter()).restore(scan)
    np.testing.assert_allclose(better.data, scan.data + 0.1 * high, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 16, 16), (3, 7, 9), (2, 100, 100)])
def test_the_percentile_of_a_stream_is_numpys(shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(1).exponential(size=shape).astype(np.float32) + 1
    scan = Volume(Slices(shape, lambda: iter(values)), AFFINE, "MR", "a.u.")
    assert normalisation_for(scan, "mr-sr").high == pytest.approx(
        float(np.percentile(values.astype(float), 99.9)), rel=1e-6
    )


def test_an_empty_mr_scan_is_refused() -> None:
    with pytest.raises(MedleyError, match="an image above zero"):
        restorer(Same()).restore(Volume(np.zeros((1, 20, 20)), AFFINE, "MR", "a.u."))


def test_no_negative_values_are_made_in_mr() -> None:
    class Darker(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - 0.5

    scan = mr()
    scan.data[0, 0, 0] = -20
    better = np.asarray(restorer(Darker()).restore(scan).data)
    assert better[0, 0, 0] == -20
    assert better.ravel()[1:].min() == 0


@pytest.mark.parametrize("size", [(20, 20), (3, 5), (1, 1), (16, 200), (9, 40)])
def test_any_size_works(random_network: nn.Module, size: tuple[int, int]) -> None:
    better = restorer(random_network).restore(ct((2, *size)))
    assert better.shape == (2, *size)
    assert np.isfinite(better.data).all()


def test_large_slices_go_through_in_windows_without_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Watching(Brighter):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            return super().forward(x)

    monkeypatch.setattr(inference, "LARGEST_SLICE", 1000)
    scan = Volume(np.random.default_rng(0).uniform(-900, 900, (2, 700, 1100)), AFFINE, "CT", "HU")
    better = restorer(Watching()).restore(scan)
    assert len(seen) == 2 * 2 * 3
    assert max(rows * columns for *_, rows, columns in seen) <= 512 * 512
    np.testing.assert_allclose(better.data, scan.data + 409.5, atol=0.01)


def test_the_stream_needs_few_slices_at_a_time() -> None:
    made, taken = [], 0

    def make():
        for k in range(200):
            made.append(k)
            yield np.full((256, 256), k, np.float32)

    scan = Volume(Slices((200, 256, 256), make), AFFINE, "CT", "HU")
    better = restorer(Same()).stream(scan)
    assert made == []
    for k, one in enumerate(better.data):
        assert one[0, 0] == pytest.approx(k, abs=1e-3)
        taken += 1
        assert len(made) - taken < 2 * 4  # the batch at work, and one that is read ahead
    assert taken == 200


def test_a_tap_sees_every_slice_once_before_and_after() -> None:
    model, scan, seen = restorer(Brighter()), ct(), []
    plan = model.plan(scan)
    better = model.carry_out(plan, [lambda k, before, after: seen.append((k, before, after))]).load()
    assert [k for k, *_ in seen] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(np.stack([before for _, before, _ in seen]), scan.data)
    np.testing.assert_array_equal(np.stack([after for *_, after in seen]), better.data)


def test_an_output_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(MedleyError, match="slice 1 is not finite"):
        restorer(Broken()).restore(ct())


@pytest.mark.parametrize(
    ("changes", "task", "message"),
    [
        ({"modality": "NM", "unit": ""}, "auto", "modality is NM, so the task is not known; the tasks are mr-sr"),
        ({"modality": "", "unit": ""}, "auto", "does not say its modality.*--task"),
        ({"modality": "PT", "unit": "SUV"}, "ct-denoise", "modality is PT, but ct-denoise is for CT"),
        ({}, "ct-denoising", "there is no task 'ct-denoising'; the tasks are"),
        ({"modality": "PT", "unit": ""}, "auto", "needs values in SUV, but these are in no known unit"),
        ({"unit": "1/cm"}, "auto", "needs values in HU, but these are in 1/cm"),
        ({"modality": "", "unit": ""}, "pet-denoise", "not a PET's in SUV"),
        ({"modality": "", "unit": ""}, "mr-sr", "not an MR magnitude image's"),
    ],
)
def test_a_scan_that_is_not_of_the_task_is_refused(changes: dict[str, str], task: str, message: str) -> None:
    with pytest.raises(MedleyError, match=message):
        restorer(Same()).stream(dataclasses.replace(ct(), **changes), task=task)


def test_where_the_file_says_nothing_the_task_decides() -> None:
    silent = dataclasses.replace(ct(), modality="", unit="")
    np.testing.assert_allclose(restorer(Same()).restore(silent, task="ct-denoise").data, silent.data, atol=1e-2)
    bright = silent.with_data(silent.data + 1024)
    with pytest.raises(MedleyError, match="not a CT's in HU: air, about -1000, is missing"):
        restorer(Same()).restore(bright, task="ct-denoise")


def test_a_task_that_was_not_trained_is_refused() -> None:
    with pytest.raises(MedleyError, match="test was trained only for mr-sr, pet-denoise"):
        restorer(Same(), ("mr-sr", "pet-denoise")).restore(ct())
    with pytest.raises(MedleyError, match="was not trained for ct-denoise"):
        restorer(Same(), ("mr-sr",)).restore_slices(ct().data, "ct-denoise", Normalisation(-1024, 3071))


def test_a_finer_grid_is_for_mr_only() -> None:
    for wish in ({"scale": 2}, {"keep_measured": True}):
        with pytest.raises(MedleyError, match="are for MR only, but the task is ct-denoise"):
            restorer(Same()).restore(ct(), **wish)
    with pytest.raises(MedleyError, match="scale must be 1, 2 or 4, but is 3"):
        restorer(Same()).restore(mr(), scale=3)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_finer_grid_has_more_voxels_in_the_same_place(scale: int) -> None:
    scan = mr()
    finer = restorer(Same()).restore(scan, scale=scale)
    assert finer.shape == (3, 24 * scale, 32 * scale)
    assert finer.spacing == pytest.approx((3, 0.8 / scale, 0.9 / scale))
    for voxel in ([0, 0, 0], [2, 5, 7]):  # k-space padding keeps every sample: (i, j) is (scale * i, scale * j)
        k, i, j = voxel
        assert finer.data[k, i * scale, j * scale] == pytest.approx(scan.data[k, i, j], rel=1e-3)
        there = finer.affine @ [k, i * scale, j * scale, 1]
        np.testing.assert_allclose(there, scan.affine @ [*voxel, 1], atol=1e-9)


def test_measured_kspace_is_put_back() -> None:
    scan = mr((1, 32, 32))
    changed = np.asarray(restorer(Brighter()).restore(scan, measured=(16, 8)).data)
    plain = np.asarray(restorer(Brighter()).restore(scan).data)
    assert np.abs(plain - scan.data).min() > 1
    # adding a constant changes only the centre of k-space, which was measured: everything comes back
    np.testing.assert_allclose(changed, scan.data, rtol=1e-3, atol=0.05)


def test_restore_slices_takes_names_and_tasks() -> None:
    slices, span = ct().data, Normalisation(*task_named("ct-denoise").range)
    for task in ("ct-denoise", task_named("ct-denoise")):
        np.testing.assert_allclose(restorer(Same()).restore_slices(slices, task, span), slices, atol=0.01)


def test_load_takes_a_path_and_lists_the_models_it_knows(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = create_model("tat", **TINY, generator_width=4)
    path = tmp_path / "mine.safetensors"
    weights.save(path, model, dataclasses.replace(describe(), config=model.config))
    monkeypatch.setattr(weights, "packaged", lambda: {"tat-one": path})
    assert load(path).description.name == "test"
    assert load("tat-one").description.name == "test"
    with pytest.raises(MedleyError, match=r"no model 'tat-two'.*packaged models are tat-one"):
        load("tat-two")
    with pytest.raises(MedleyError, match="no device 'nonsense'"):
        load(path, device="nonsense")


@pytest.mark.parametrize(("measured", "word"), [((25, 8), "25x8 lines"), ((0, 8), "0x8"), (None, "--measured")])
def test_measured_kspace_must_be_known_and_fit_the_grid(measured, word) -> None:
    with pytest.raises(MedleyError, match=word):
        restorer(Same()).plan(mr(), keep_measured=True, measured=measured)


def test_measured_lines_come_from_the_source_of_the_scan_also_on_a_finer_grid(tmp_path, phantoms) -> None:
    def change(ds, k) -> None:
        ds.AcquisitionMatrix, ds.InPlanePhaseEncodingDirection = [15, 0, 0, 11], "COL"

    phantoms.write_mr_series(tmp_path / "mr", (2, 24, 32), change=change)
    scan = open_scan(tmp_path / "mr")
    plan = restorer(Brighter()).plan(scan, keep_measured=True, scale=2)
    assert plan.measured == (11, 15)
    before, after = np.asarray(plan.before.data), np.asarray(restorer(Brighter()).carry_out(plan).data)
    spectra = [np.fft.fftshift(np.fft.fft2(x), (-2, -1))[:, 24 - 5 : 24 + 6, 32 - 7 : 32 + 8] for x in (before, after)]
    np.testing.assert_allclose(spectra[1], spectra[0], atol=1e-3 * np.abs(spectra[0]).max())


def test_restoring_a_result_of_medley_is_reported(tmp_path, phantoms) -> None:
    phantoms.write_mr_series(tmp_path / "mr", (2, 24, 32))
    write(restorer(Same()).restore(open_scan(tmp_path / "mr")), tmp_path / "out", derivation="medley test mr-sr")
    with pytest.warns(MedleyNotice, match=r"written by medley before \(medley test mr-sr\)"):
        restorer(Same()).plan(open_scan(tmp_path / "out"))


def test_of_several_tasks_for_a_modality_the_one_that_was_trained_is_chosen(forget):
    own = TASKS["ct-denoise"].model_copy(update={"name": "ct-own"})
    TASKS.register("ct-own", own)
    for tasks in (("ct-own",), ("ct-denoise",), ("ct-own", "ct-denoise")):
        chosen = tasks[-1]  # the first one in the table
        assert restorer(Same(), tasks).plan(ct()).task.name == chosen
    with pytest.raises(MedleyError, match="the task ct-denoise, but test was trained only for mr-sr"):
        restorer(Same(), ("mr-sr",)).plan(ct())
