import json

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from safetensors.torch import save_file

import medley as package
from medley.apps import convert as convert_app
from medley.apps import demo as demo_app
from medley.apps._settings import parse_settings
from medley.errors import MedleyError
from medley.io.files import read
from medley.models import weights
from medley.models.zoo import create_model
from medley.scoring.rows import read_scores
from medley.tasks import TASKS


def test_help_lists_every_command_and_the_version_is_that_of_the_package(medley) -> None:
    done = medley("--help")
    assert done.code == 0
    commands = "restore predict degrade prepare train evaluate models tasks convert doctor"
    for command in commands.split():
        assert f" {command} " in done.out
        assert medley(command, "--help").code == 0
    assert medley("--version").out == f"medley {package.__version__}\n"


def test_without_a_command_the_help_is_shown(medley) -> None:
    done = medley()
    assert done.code == 2
    assert "restore" in done.out + done.err


def test_tasks_are_listed_as_table_and_json(medley) -> None:
    assert all(name in medley("tasks").out for name in TASKS)
    assert json.loads(medley("tasks", "--json").out)["ct-denoise"]["targets"][0]["window"] == [-160, 240]


def test_models_lists_the_packaged_models(medley, model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "packaged", lambda: {"tiny": model})
    assert "ct-denoise PSNR 30.00 dB" in medley("models").out
    assert json.loads(medley("models", "--json").out)["tiny"]["architecture"] == "tat"
    monkeypatch.setattr(weights, "packaged", dict)
    assert "No models are packaged" in medley("models").out


def test_the_doctor_finds_damaged_weights(medley, model, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(model.read_bytes())
    content[-3] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr(weights, "packaged", lambda: {"tiny": model})
    done = medley("doctor", "--json")
    assert done.code == 0, done.out
    whats = {one["what"] for one in json.loads(done.out)}
    assert {"torch", "DICOM JPEGLossless", "weights tiny", "extra formats"} <= whats
    monkeypatch.setattr(weights, "packaged", lambda: {"tiny": damaged})
    done = medley("doctor")
    assert done.code == 1
    assert "broken" in done.out


def test_the_doctor_says_how_a_missing_extra_is_installed_from_a_clone(medley, monkeypatch) -> None:
    monkeypatch.setattr("medley.apps.doctor.missing_packages", lambda extra: ["zarr"] if extra == "train" else [])
    monkeypatch.setattr(weights, "packaged", dict)
    done = medley("doctor")
    assert done.code == 0
    assert 'zarr not installed: run pip install ".[train]" in the folder that holds the source of medley' in done.out


def test_degrade_writes_its_parameters_and_a_seed_gives_the_same_scan_again(medley, ct_nifti, tmp_path) -> None:
    for name in ("a", "b"):
        done = medley("degrade", ct_nifti, "-o", tmp_path / f"{name}.nii.gz", "-t", "ct-denoise", "--set", "dose=0.1")
        assert done.code == 0, done.err
    first, second = (nib.load(tmp_path / f"{name}.nii.gz").get_fdata() for name in "ab")
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - nib.load(ct_nifti).get_fdata()).max() > 1
    record = json.loads((tmp_path / "a.nii.gz.json").read_text())
    assert record["degradation"]["name"] == "ct-low-dose"
    assert record["degradation"]["parameters"]["dose"] == 0.1
    assert "seed" in record["degradation"]["parameters"]


def test_degrade_draws_from_ranges_and_refuses_reversed_ones(medley, ct_nifti, tmp_path) -> None:
    out = tmp_path / "a.nii.gz"
    ranges = ("--set", "dose=[0.05, 1.0]", "--set", "kernel=[hann-0.8, shepp-logan]")
    assert medley("degrade", ct_nifti, "-o", out, "-t", "ct-denoise", *ranges, "--seed", "5").code == 0
    drawn = json.loads((tmp_path / "a.nii.gz.json").read_text())["degradation"]["parameters"]
    assert 0.05 <= drawn["dose"] <= 1
    assert drawn["kernel"] in ("hann-0.8", "shepp-logan")
    done = medley("degrade", ct_nifti, "-o", tmp_path / "b.nii.gz", "-t", "ct-denoise", "--set", "dose=[1, 0.05]")
    assert done.code == 1
    assert "dose of ct-low-dose is [1, 0.05], but a range is [low, high] with low <= high" in done.err
    assert not (tmp_path / "b.nii.gz").exists()


def test_degrade_refuses_other_modalities_several_scans_and_unknown_settings(
    medley, ct_series, ct_nifti, tmp_path
) -> None:
    out = tmp_path / "out"
    assert "of modality CT, but mr-sr is for MR" in medley("degrade", ct_series, "-o", out, "-t", "mr-sr").err
    assert "holds 2 scans" in medley("degrade", tmp_path, "-o", tmp_path.parent / "o", "-t", "ct-denoise").err
    done = medley("degrade", ct_series, "-o", out, "-t", "ct-denoise", "--set", "doze=1")
    assert done.code == 1
    assert "doze" in done.err
    assert not out.exists()


def test_a_checkpoint_becomes_a_weights_file(medley, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_app, "convert_original", lambda name, state: dict(state))  # tested with the models
    model = create_model("restormer", dim=4, blocks=(1, 1, 1, 1), refinement=1, heads=(1, 1, 1, 1))
    torch.save({"params": model.state_dict(), "epoch": 3}, tmp_path / "best.pth")
    save_file(model.state_dict(), tmp_path / "best.safetensors")
    wishes = ("--network", "restormer", "-t", "mr-sr")
    smaller = [f"--set={s}" for s in ("dim=4", "blocks=[1,1,1,1]", "refinement=1", "heads=[1,1,1,1]")]
    for suffix in ("pth", "safetensors"):
        out = tmp_path / f"{suffix}-ours.safetensors"
        done = medley("convert", tmp_path / f"best.{suffix}", "-o", out, *wishes, *smaller)
        assert done.code == 0, done.err
        loaded, description = weights.load(out)
        assert description.tasks == ("mr-sr",)
        x = torch.rand(1, 1, 16, 16)
        torch.testing.assert_close(loaded(x), model.eval()(x))
    done = medley("convert", tmp_path / "best.pth", "-o", tmp_path / "o.safetensors", *wishes)
    assert done.code == 1
    assert "does not fit restormer with this configuration" in done.err


def test_the_tasks_and_slots_of_unih3_are_those_of_the_checkpoint(medley, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(convert_app, "convert_original", lambda name, state: dict(state))
    smaller = {"dim": 4, "blocks": (1, 1, 1, 1), "refinement": 1, "heads": (1, 1, 1, 1)}
    model = create_model("unih3", **smaller, tasks=("pet-denoise", "ct-denoise", "mr-sr"), slots=5)
    torch.save(model.state_dict(), tmp_path / "ema.pt")
    settings = [f"--set={key}={list(one) if isinstance(one, tuple) else one}" for key, one in smaller.items()]
    out = tmp_path / "ours.safetensors"
    done = medley("convert", tmp_path / "ema.pt", "-o", out, "--network", "unih3", "-t", "ct-denoise", *settings)
    assert done.code == 0, done.err
    loaded, description = weights.load(out)
    assert (description.config["slots"], len(description.config["tasks"])) == (5, 3)
    x = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(loaded(x), model.eval()(x))


def test_other_files_are_refused_as_checkpoints(tmp_path) -> None:
    (tmp_path / "words.pth").write_text("these are words")
    torch.save({"epoch": 3, "name": "x"}, tmp_path / "empty.pth")
    torch.save({"state_dict": {"weight": np.float64}}, tmp_path / "code.pth")
    for name, message in (
        ("missing.pth", "does not exist"),
        ("words.pth", "cannot be read as a checkpoint"),
        ("empty.pth", "has no state dict"),
        ("code.pth", "cannot be read as a checkpoint|has no state dict"),
    ):
        with pytest.raises(MedleyError, match=f"{name}: ({message})"):
            convert_app.state_dict_in(tmp_path / name)


def test_evaluate_writes_a_row_for_each_record_and_prints_means(medley, model, small_store, tmp_path) -> None:
    out = tmp_path / "scores.csv"
    done = medley("evaluate", model, "--data", small_store.path, "-o", out, "--pictures", tmp_path / "pictures")
    assert done.code == 0, done.err
    rows, header = read_scores(out)
    assert header["experiment"] == "store, valid"
    assert {(row.method, row.task) for row in rows} == {
        (method, task) for method in ("input", "tiny") for task in ("ct-denoise", "pet-denoise")
    }
    assert "PSNR" in done.out
    assert "bias of the mean SUV (%)" in done.out
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
    assert "exists already" in medley("evaluate", model, "--data", small_store.path, "-o", out).err


def test_evaluate_on_a_phantom_writes_a_row_for_each_dose(medley, model, small_store, tmp_path) -> None:
    folder = tmp_path / "phantom"
    folder.mkdir()
    inside = np.hypot(*(np.indices((256, 256)) - 127.5)) < 116
    noise = np.random.default_rng(0).normal(0, 20, (4, 256, 256))
    np.savez(folder / "water_dose040.npz", hu=np.where(inside, 0, -1000) + noise)
    out = tmp_path / "phantom.csv"
    done = medley("evaluate", model, "--phantom", folder, "-o", out, "--pictures", tmp_path / "pictures")
    assert done.code == 0, done.err
    rows, header = read_scores(out)
    assert [(row.method, row.title) for row in rows] == [("input", "dose 40 %"), ("tiny", "dose 40 %")]
    assert "noise_power HU² mm²" in header["units"]
    assert "detectability d'" in done.out
    assert (tmp_path / "pictures" / "ct-phantom.png").exists()
    assert medley("report", out, "-o", tmp_path / "report", "-q").code == 0
    assert (tmp_path / "report" / "dose-40-noise_power.svg").exists()
    assert "exists already" in medley("evaluate", "--phantom", folder, "-o", out).err
    assert "is the input" in medley("evaluate", "--phantom", folder, "-o", folder / "a.csv").err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--data STORE or --phantom FOLDER"),
        (["--phantom", "p", "--task", "ct-denoise"], "--task and --split"),
        (["--phantom", "p", "--split", "test"], "--task and --split"),
        (["--phantom", "p", "--classical"], "--data and --classical"),
        (["--phantom", "p", "--data", "s"], "--data and --classical"),
    ],
)
def test_wrong_usage_of_evaluate(medley, tmp_path, arguments, complaint) -> None:
    done = medley("evaluate", *arguments, "-o", tmp_path / "a.csv")
    assert done.code == 2
    assert complaint in " ".join(done.err.replace("│", " ").split())


def test_prepare_makes_a_store(medley, ct_nifti, tmp_path) -> None:
    source = tmp_path / "data" / "ct"
    source.mkdir(parents=True)
    ct_nifti.rename(source / "one.nii.gz")
    store = tmp_path / "store"
    done = medley("prepare", "folder", tmp_path / "data", "-o", store, "--set", "ct-denoise.dose=0.5")
    assert done.code == 0, done.err
    assert done.err == f"{store}: 1 record\n"
    (entry,) = json.loads((store / "manifest.json").read_text())["records"]
    assert entry["degradation"]["parameters"]["dose"] == 0.5
    assert "there is no layout 'kits'" in medley("prepare", "kits", tmp_path / "data", "-o", store).err
    done = medley("prepare", "folder", tmp_path / "data", "-o", store, "--set", "dose=1")
    assert "expected TASK.NAME=VALUE" in done.err


def test_train_explains_what_is_wrong_with_a_recipe(medley, tmp_path) -> None:
    done = medley("train", tmp_path / "none.yaml")
    assert done.code == 1
    assert "none.yaml cannot be read" in done.err


def test_settings_are_yaml_values() -> None:
    assert parse_settings(["a=0.5", "b=[1, 2]", "c=x"]) == {"a": 0.5, "b": [1, 2], "c": "x"}
    for wrong in ("a", "=1", "a=[1"):
        with pytest.raises(MedleyError, match="--set"):
            parse_settings([wrong])


def test_the_demo_restores_a_real_slice_and_writes_all_files(model, tmp_path, capsys) -> None:
    for _ in range(2):  # a second run replaces the first
        scores = demo_app.demo(tmp_path / "demo-output", str(model))
    assert scores["before"]["psnr"] > 15
    assert "before" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "demo-output").iterdir()}
    assert names == {
        "ct-low-dose", "ct-restored", "report.html", "original-lowdose-restored.png",
        "ct-original.nii.gz", "ct-low-dose.nii.gz", "ct-restored.nii.gz",
    }  # fmt: skip


def test_modality_and_unit_of_the_task_are_written_to_the_degraded_scan(medley, model, ct_nifti, tmp_path) -> None:
    low = tmp_path / "low.nii.gz"
    assert medley("degrade", ct_nifti, "-o", low, "-t", "ct-denoise").code == 0
    assert (read(low).modality, read(low).unit) == ("CT", "HU")
    done = medley("restore", low, "-o", tmp_path / "better.nii.gz", "-m", model)
    assert done.code == 0, done.err
    assert read(tmp_path / "better.nii.gz").modality == "CT"


def test_a_degraded_series_says_so_in_its_description(medley, model, ct_series, tmp_path) -> None:
    medley("degrade", ct_series, "-o", tmp_path / "low", "-t", "ct-denoise")
    medley("restore", tmp_path / "low", "-o", tmp_path / "better", "-m", model)
    described = {name: pydicom.dcmread(tmp_path / name / "IM-0001.dcm").SeriesDescription for name in ("low", "better")}
    assert described["low"].endswith("(medley degraded)")
    assert described["better"].endswith("(medley tiny strength 1)")


def test_an_interrupt_is_one_plain_line(medley, model, ct_nifti, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("medley.apps.restore.loading.load_restorer", stop)
    done = medley("restore", ct_nifti, "-o", tmp_path / "o.nii.gz", "-m", model, "-t", "ct-denoise")
    assert done.code == 130
    assert done.err.startswith("interrupted; ")
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "o.nii.gz").exists()


def test_data_check_lists_a_store_and_finds_damage(medley, small_store) -> None:
    whole = medley("data", "check", small_store.path)
    assert whole.code == 0
    assert "4 records, 0 damaged" in whole.err + whole.out
    folder = small_store.path / "records" / "scan-0" / "input"
    next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "zarr.json").unlink()
    broken = medley("data", "check", small_store.path)
    assert broken.code == 1
    assert "input: has other values than when it was written" in broken.err
