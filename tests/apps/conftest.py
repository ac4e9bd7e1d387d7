"""Runs of the command line, small models and small scans."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.uid import generate_uid

from medley.apps.cli import main
from medley.models import weights
from medley.models.zoo import create_model
from medley.targets import Target
from medley.tasks import TASKS, Task

DOSE = Target(name="dose", kind="map", unit="Gy", scale=70, within="possible_dose")
ORGANS = Target(name="segmentation", kind="structures", names=("PTV70", "SpinalCord", "Larynx"))
STAGE = Target(name="stage", kind="classes", names=("early", "late"))
PLANS = Task(
    name="plans", title="Radiotherapy plans", modality="CT", channels=("CT",), range=(-1000, 1000), unit="HU",
    grid=(16, 16, 16), spacing=(4.0, 4.0, 4.0), targets=(DOSE, ORGANS, STAGE),
)  # fmt: skip
SKIN = Task(
    name="skin", title="Skin lesions", channels=("red", "green", "blue"), range=(0, 255), grid=(32, 32),
    targets=(
        Target(name="segmentation", kind="structures", names=("lesion",)),
        Target(name="diagnosis", kind="classes", names=("nevus", "melanoma")),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def medley(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command in this process."""

    def run(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Result(left.value.code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny untrained restoration network."""
    torch.manual_seed(0)
    network = create_model("tat", dim=4, blocks=(1, 1, 1, 1), refinement=1, heads=(1, 1, 1, 1), generator_width=4)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights.save(
        path,
        network,
        weights.Description(
            name="tiny", architecture="tat", config=network.config, tasks=tuple(TASKS),
            training={"steps": 0, "train_subjects": {"ct-denoise": 1}, "validation": {"ct-denoise psnr": 30.0}},
            version="0",
        ),
    )  # fmt: skip
    return path


@pytest.fixture
def ct_nifti(tmp_path: Path) -> Path:
    """A scan of 3 x 24 x 20 voxels with integer HU; the file does not state its modality."""
    return save_nifti(tmp_path / "head.nii.gz", np.random.default_rng(0).integers(-1000, 900, (20, 24, 3)))


@pytest.fixture
def ct_series(tmp_path: Path) -> Path:
    """A DICOM series of four slices, made from the real one in pydicom's package."""
    folder = tmp_path / "series"
    folder.mkdir()
    image = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm")
    x, y, z = (float(value) for value in image.ImagePositionPatient)
    for k in range(4):
        image.ImagePositionPatient = [x, y, z + 5 * k]
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.InstanceNumber = k + 1
        image.save_as(folder / f"{k}.dcm")
    return folder


def save_nifti(path: Path, values: np.ndarray) -> Path:
    """Values (i, j, k) as int16 or float32, 0.8 x 0.9 x 3 mm."""
    kind = np.int16 if values.dtype.kind == "i" else np.float32
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.astype(kind), np.diag([-0.8, -0.9, 3, 1])), path)
    return path


def save_predictor(folder: Path, name: str, problem: Task, tasks: tuple[str, ...] = (), inputs=("image",)) -> Path:
    """Weights of a small untrained prediction network."""
    torch.manual_seed(0)
    tasks = tasks or tuple(target.name for target in problem.targets)
    targets = {name: (problem.target(name).level, problem.target(name).channels) for name in tasks}
    channels = len(problem.input_channels(inputs))
    small = {"width": 4, "widest": 8, "heads": 2}
    network = create_model("ctan-tiny", **small, targets=targets, dimension=len(problem.grid), channels=channels)
    training = {"steps": 10, "train_subjects": 3, "validation": {"dose dose_score": 3.4}}
    stated = problem.model_dump(mode="json")
    said = weights.Description(name, "ctan", network.config, tasks, training, "0", stated, inputs)
    weights.save(folder / f"{name}.safetensors", network, said)
    return folder / f"{name}.safetensors"


@pytest.fixture(scope="session")
def predictors(tmp_path_factory) -> dict[str, Path]:
    """Weights files of small networks by name."""
    folder = tmp_path_factory.mktemp("predictors")
    narrow = PLANS.model_copy(update={"spacing": (2.0, 2.0, 2.0)})
    return {
        "plans": save_predictor(folder, "plans", PLANS),
        "narrow": save_predictor(folder, "narrow", narrow, ("dose",)),
        "outlines": save_predictor(folder, "outlines", PLANS, ("segmentation",)),
        "stages": save_predictor(folder, "stages", PLANS, ("stage",)),
        "needy": save_predictor(folder, "needy", PLANS, ("dose",), ("image", "segmentation", "possible_dose")),
        "skin": save_predictor(folder, "skin", SKIN),
    }


@pytest.fixture
def patient(rt, tmp_path) -> Path:
    """A folder with the CT (CT), RTSTRUCT (RS.dcm) and RTDOSE (RD.dcm) of a patient."""
    rt.write_patient(tmp_path / "patient")
    return tmp_path / "patient"


@pytest.fixture
def photograph(tmp_path) -> Path:
    row, column = np.mgrid[:60, :80]
    lesion = (row - 30) ** 2 + (column - 35) ** 2 < 300
    pixels = np.where(lesion[..., None], [90, 50, 40], [220, 180, 160]).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mole.png")
    return tmp_path / "mole.png"
