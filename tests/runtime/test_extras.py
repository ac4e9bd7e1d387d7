import re
import tomllib
from pathlib import Path

import pytest

from medley.errors import MedleyError
from medley.runtime import extras

ROOT = Path(__file__).resolve().parents[2]


def test_every_extra_is_one_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.EXTRAS) == set(project["optional-dependencies"]) - {"all", "dev"}


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_a_missing_extra_is_one_sentence_with_a_command_for_a_clone(extra, monkeypatch):
    monkeypatch.setattr(extras, "installed_version", lambda name: None)
    assert extras.missing_packages(extra)
    with pytest.raises(MedleyError, match=re.escape(f'pip install ".[{extra}]"')):
        extras.require_extra(extra)


def test_an_installed_extra_passes(monkeypatch):
    monkeypatch.setattr(extras, "installed_version", lambda name: "1.0")
    extras.require_extra("train")
    assert extras.missing_packages(None) == []
    assert "numpy" in extras.packages_of(None)
