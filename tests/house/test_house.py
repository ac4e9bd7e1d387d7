"""Rules of the source: imports point down the layers, `import medley` is fast, files are short, `_modules` private."""

import ast
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "medley"

# A package imports only from packages in layers below its own, and from those that ALLOWED lists.
LAYERS = {
    "runtime": -4, "normalisation": -3, "targets": -2, "tasks": -1,
    "errors": 0, "volume": 0, "slabs": 0, "geometry": 0, "metrics": 0, "models": 0, "packaged": 0,
    "io": 1, "physics": 1, "inference": 1,
    "data": 2,
    "scoring": 3,
    "training": 4, "plots": 4,
    "experiments": 5, "node": 5,
    "apps": 6,
}  # fmt: skip
ALLOWED = {
    ("inference", "physics"),
}
EVERYWHERE = {"errors", "volume"}  # may be imported by every module


def package(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_packages(path: Path) -> set[str]:
    packages = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "medley":
            packages |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medley."):
            packages.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            packages |= {name.split(".")[1] for a in node.names if (name := a.name).startswith("medley.")}
    return packages & LAYERS.keys()


SOURCES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_point_down_the_layers(path: Path) -> None:
    here = package(path)
    if here == "__init__":
        return  # the public API imports from all layers, on first use
    assert here in LAYERS, f"{here} has no layer yet; add it to LAYERS"
    for other in imported_packages(path) - {here}:
        below = LAYERS[other] < LAYERS[here]
        assert below or other in EVERYWHERE or (here, other) in ALLOWED, f"{here} must not import {other}"


@pytest.mark.parametrize(
    "name", ["Plan", "Job", "Method", "Comparison", "Prediction", "Table", "Bottleneck", "Patient", "AIR"]
)
def test_a_name_has_one_definition(name: str) -> None:
    pattern = re.compile(rf"^(?:class {name}\b|{name}(?:: [^=]+)? = )", flags=re.MULTILINE)
    assert len([path.name for path in SOURCES if pattern.search(path.read_text())]) <= 1


def test_an_import_from_a_higher_layer_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("from medley.apps import cli\nfrom medley import training\nimport medley.data.store\n")
    assert imported_packages(file) == {"apps", "training", "data"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_private_modules_are_imported_in_their_own_package_only(path: Path) -> None:
    modules = re.findall(r"^\s*(?:from|import) (medley(?:\.\w+)*)", path.read_text(), flags=re.MULTILINE)
    private = {name for name in modules if re.search(r"\._\w+$", name)}
    here = ".".join(["medley", *path.relative_to(SOURCE).parent.parts])
    assert {name for name in private if name.rpartition(".")[0] != here} == set()


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks"])
def test_no_file_is_longer_than_400_lines(folder: str) -> None:
    lengths = {p.relative_to(ROOT): len(p.read_text().splitlines()) for p in (ROOT / folder).rglob("*.py")}
    assert {path: n for path, n in lengths.items() if n > 400} == {}


@pytest.mark.parametrize(
    "arguments",
    [["-c", "import medley"], ["-m", "medley.apps.cli", "--help"], ["-m", "medley.apps.cli", "tasks"]],
    ids=["import medley", "medley --help", "medley tasks"],
)
def test_import_help_and_tasks_load_no_torch(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "medley" in loaded
    assert "torch" not in loaded


@pytest.mark.skipif(shutil.which("git") is None, reason="git lists the tracked files")
def test_no_tracked_file_contains_a_path_of_a_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    text = [ROOT / name for name in tracked if name.endswith((".py", ".md", ".yaml", ".toml", ".txt", ".csv"))]
    places = ("/wor" + "k/", "/roo" + "t/", "pythonhos" + "ted")
    assert [p.name for p in text if p.exists() and any(place in p.read_text() for place in places)] == []


PACKAGES = [".".join(p.parent.relative_to(SOURCE.parent).parts) for p in sorted(SOURCE.rglob("__init__.py"))]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_lists_its_public_api(package: str) -> None:
    module = import_module(package)
    folder = Path(module.__file__).parent
    modules = {p.stem for p in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/__init__.py")}
    for name in module.__all__:
        assert name in modules or hasattr(module, name), name
    if modules & set(module.__all__):  # a package that lists its modules lists all public ones
        assert {name for name in modules if not name.startswith("_")} == set(module.__all__)
