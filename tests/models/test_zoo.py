import subprocess
import sys

import pytest
import torch

from medley.errors import MedleyError
from medley.models.zoo import NETWORKS, Variant, configuration, create_model, is_multitask

RESTORERS = [name for name in NETWORKS if not is_multitask(name)]
MULTITASK = [name for name in NETWORKS if name not in RESTORERS]
DOSE_AND_ORGANS = {"dose": ("pixel", 1), "segmentation": ("pixel", 10)}


def parameters(name: str, **config) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(name, **config).parameters())


@pytest.mark.parametrize(("name", "millions"), [("restormer", 26.12), ("tat", 41.69), ("amir", 23.54)])
def test_the_papers_parameter_counts(name, millions):
    assert round(parameters(name) / 1e6, 2) == millions


@pytest.mark.parametrize("name", ["tat-tiny", "amir-tiny"])
def test_tiny_networks_are_under_six_megabytes(name):
    assert 4 * parameters(name) < 6e6


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("name", ["stl-tiny", "hps-tiny", "mtan-tiny", "ctan-tiny"])
def test_tiny_multitask_networks_are_under_six_megabytes(name, dimension):
    assert 4 * parameters(name, targets=DOSE_AND_ORGANS, dimension=dimension) < 5e6


@pytest.mark.parametrize("name", RESTORERS)
def test_every_restorer_can_be_made(name):
    with torch.device("meta"):
        model = create_model(name)
    assert {"dim", "blocks"} <= model.config.keys()


@pytest.mark.parametrize("name", MULTITASK)
def test_every_multitask_network_can_be_made(name):
    with torch.device("meta"):
        model = create_model(name, targets=DOSE_AND_ORGANS)
    assert {"targets", "dimension", "channels", "width", "blocks", "stem", "norm"} <= model.config.keys()


def test_settings_can_be_changed():
    assert create_model("tat-tiny", dim=8).config["dim"] == 8


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("tatt", {}, "there is no network 'tatt'; the networks are tat, amir, restormer"),
        ("tat", {"dims": 8}, "no argument 'dims'; its arguments are dim, blocks"),
        ("restormer", {"window": 8}, "no argument 'window'"),
        ("tat", {"blocks": (1, 2)}, "4 levels"),
        ("tat", {"dim": 9}, "even"),
        ("tat", {"dim": 10, "heads": (1, 3, 4, 8)}, "divisible"),
        ("tat", {"window": 4}, "at least the largest number of heads"),
        ("tat", {"dim": "wide"}, "cannot be created"),
        ("amir", {"active": 4}, "not all must be active"),
        ("ctan", {}, "'ctan' needs targets"),
        ("stl", {"targets": {}}, "at least one target"),
        ("hps", {"targets": {"dose": ("voxel", 1)}}, "dose: expected .'pixel' or 'image'"),
        ("hps", {"targets": {"dose": ("pixel", 0)}}, "dose: expected"),
        ("hps", {"targets": {"dose": "pixel"}}, "cannot be created"),
        ("mtan", {"targets": {"a.b": ("pixel", 1)}}, "cannot be called 'a.b'"),
        ("mtan", {"targets": {"keys": ("pixel", 1)}}, "cannot be called 'keys'"),
        ("hps", {"targets": DOSE_AND_ORGANS, "dimension": 4}, "dimension must be 2 or 3"),
        ("hps", {"targets": DOSE_AND_ORGANS, "norm": "layer"}, "norm must be 'batch' or 'group'"),
        ("hps", {"targets": DOSE_AND_ORGANS, "stem": 3}, "stem must be 1, 2 or 4"),
        ("hps", {"targets": DOSE_AND_ORGANS, "blocks": (1, 0)}, "at least 1"),
        ("hps", {"targets": DOSE_AND_ORGANS, "blocks": ()}, "at least one stage"),
        ("hps", {"targets": DOSE_AND_ORGANS, "squeeze": 4}, "no argument 'squeeze'"),
        ("mtan", {"targets": DOSE_AND_ORGANS, "squeeze": 3}, "squeeze must divide"),
        ("ctan", {"targets": DOSE_AND_ORGANS, "heads": 5}, "heads must divide"),
    ],
)
def test_bad_settings_are_named(name, config, message):
    with pytest.raises(MedleyError, match=message):
        create_model(name, **config)


def test_names_and_descriptions_load_no_torch():
    code = "import sys, medley.models.zoo, medley.models.weights as w; w.packaged(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


class Scale(torch.nn.Module):
    """A network of a plugin: it states no `config`."""

    def __init__(self, factor: float = 1.0, *, kind: object = "plain") -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))


def test_registered_networks_and_variants(forget):
    NETWORKS.register("scale", Scale)
    NETWORKS.register("scale-two", Variant("scale", {"factor": 2.0}))
    NETWORKS.register("scale-three", Variant("scale-two", {"factor": 3.0, "kind": "other"}))
    assert create_model("scale-two").config == {"factor": 2.0, "kind": "plain"}
    assert create_model("scale-three", kind=["a"]).config == {"factor": 3.0, "kind": ["a"]}
    assert configuration("scale-three") == ("scale", {"factor": 3.0, "kind": "other"})
    assert not is_multitask("scale-three")
    with pytest.raises(MedleyError, match=r"'scale' has an argument that cannot be stored as JSON: .*type"):
        create_model("scale", kind=dict)
