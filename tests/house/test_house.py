"""The rules that hold the house together: imports go down only, the light parts stay light, files stay small."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "medley"

# A floor stands on the floors below it. On one floor, rooms may not look into each other, except where ALLOWED says.
FLOORS = {
    "errors": 0, "volume": 0, "tasks": 0, "problems": 0, "geometry": 0, "runtime": -1, "metrics": 0, "models": 0,
    "packaged": 0,
    "io": 1, "physics": 1, "inference": 1,
    "data": 2,
    "scoring": 3,
    "training": 4, "plots": 4,
    "experiments": 5,
    "apps": 6,
}  # fmt: skip
ALLOWED = {
    ("metrics", "tasks"),
    ("metrics", "problems"),
    ("inference", "physics"),
    ("plots", "experiments"),  # until verdict and weights_of move down
    ("plots", "training"),
}
EVERYONE = {"errors", "volume"}  # the words the whole house speaks; errors itself imports nothing


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "medley":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medley."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {name.split(".")[1] for a in node.names if (name := a.name).startswith("medley.")}
    return rooms & FLOORS.keys()


SOURCES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_go_down_only(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return  # the public face opens doors on every floor, when they are asked for
    assert here in FLOORS, f"{here} stands on no floor yet; say which in FLOORS"
    for other in imported_rooms(path) - {here}:
        below = FLOORS[other] < FLOORS[here]
        assert below or other in EVERYONE or (here, other) in ALLOWED, f"{here} must not import {other}"


def test_an_import_that_goes_up_would_be_seen(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("from medley.apps import cli\nfrom medley import training\nimport medley.data.store\n")
    assert imported_rooms(file) == {"apps", "training", "data"}


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks"])
def test_no_file_is_longer_than_400_lines(folder: str) -> None:
    lengths = {p.relative_to(ROOT): len(p.read_text().splitlines()) for p in (ROOT / folder).rglob("*.py")}
    assert {path: n for path, n in lengths.items() if n > 400} == {}


@pytest.mark.parametrize(
    "arguments",
    [["-c", "import medley"], ["-m", "medley.apps.cli", "--help"], ["-m", "medley.apps.cli", "tasks"]],
    ids=["import medley", "medley --help", "medley tasks"],
)
def test_the_light_parts_load_no_torch(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "medley" in loaded
    assert "torch" not in loaded


@pytest.mark.skipif(shutil.which("git") is None, reason="git tells what is tracked")
def test_no_path_of_a_machine_is_tracked() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    text = [ROOT / name for name in tracked if name.endswith((".py", ".md", ".yaml", ".toml", ".txt", ".csv"))]
    places = ("/wor" + "k/", "/roo" + "t/", "pythonhos" + "ted")
    assert [p.name for p in text if p.exists() and any(place in p.read_text() for place in places)] == []
