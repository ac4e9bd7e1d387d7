import subprocess
import sys

import pytest
import torch

from medley.errors import MedleyError
from medley.models.zoo import CONFIGURATIONS, create_model


def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(name).parameters())


@pytest.mark.parametrize(("name", "millions"), [("restormer", 26.12), ("tat", 41.69), ("amir", 23.54)])
def test_the_papers_parameter_counts(name, millions):
    assert round(parameters(name) / 1e6, 2) == millions


@pytest.mark.parametrize("name", ["tat-tiny", "amir-tiny"])
def test_tiny_networks_are_under_six_megabytes(name):
    assert 4 * parameters(name) < 6e6


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_network_can_be_made(name):
    with torch.device("meta"):
        model = create_model(name)
    assert create_model.__module__ == "medley.models.zoo"
    assert {"dim", "blocks", "refinement", "heads", "expansion"} <= model.config.keys()


def test_settings_can_be_changed():
    assert create_model("tat-tiny", dim=8).config["dim"] == 8


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("tatt", {}, "there is no network 'tatt'; the networks are tat, amir, restormer"),
        ("tat", {"dims": 8}, "no setting 'dims'; its settings are dim, blocks"),
        ("restormer", {"window": 8}, "no setting 'window'"),
        ("tat", {"blocks": (1, 2)}, "4 levels"),
        ("tat", {"dim": 9}, "even"),
        ("tat", {"dim": 10, "heads": (1, 3, 4, 8)}, "divisible"),
        ("tat", {"window": 4}, "at least the largest number of heads"),
        ("tat", {"dim": "wide"}, "cannot be made"),
        ("amir", {"active": 4}, "not all must be active"),
    ],
)
def test_bad_settings_are_named(name, config, message):
    with pytest.raises(MedleyError, match=message):
        create_model(name, **config)


def test_names_and_descriptions_load_no_torch():
    code = "import sys, medley.models.zoo, medley.models.weights as w; w.packaged(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
