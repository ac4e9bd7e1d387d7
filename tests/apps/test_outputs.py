"""The paths of results: no result replaces another one, an input, or anything that exists."""

import os
from pathlib import Path

import pytest

from medley.apps._outputs import check_outputs, write_json, write_text
from medley.errors import MedleyError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a scan, a symbolic link to it, a hard link, and a linked folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "scan.nii").write_text("scan")
    (tmp_path / "link.nii").symlink_to("in/scan.nii")
    os.link(tmp_path / "in" / "scan.nii", tmp_path / "hard.nii")
    (tmp_path / "linked").symlink_to("in")
    return tmp_path


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "output",
    [
        "in/scan.nii",
        "link.nii",
        "hard.nii",
        "in/../in/scan.nii",
        "linked/scan.nii",
        "in",
        "linked",
        ".",
        "in/./scan.nii",
    ],
)
def test_an_input_is_never_an_output(place, output, overwrite) -> None:
    for results, files in (([place / output], []), ([place / "out"], [place / output])):
        with pytest.raises(MedleyError, match=r"is the input .*, in it, or contains it"):
            check_outputs([place / "in" / "scan.nii"], results, files, overwrite=overwrite)
    assert (place / "in" / "scan.nii").read_text() == "scan"


@pytest.mark.parametrize("output", ["in/new", "linked/new", "in/deep/new.nii"])
def test_nothing_is_written_into_a_folder_that_is_read(place, output) -> None:
    with pytest.raises(MedleyError, match=r"is the input .*, in it, or contains it"):
        check_outputs(place / "in", [place / output], overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("results", "files"),
    [
        (["out.nii", "out.nii"], []),
        (["out.nii"], ["out.nii"]),
        (["out.nii"], ["OUT.nii"]),
        (["out.nii"], ["page.html", "page.html"]),
        (["out.nii"], ["page.html", "Page.HTML"]),
        (["out.nii"], ["new/../out.nii"]),
        (["linked2/out.nii"], ["real/out.nii"]),
        (["a", "b"], ["b"]),
    ],
)
def test_two_results_are_never_the_same_file(place, results, files, overwrite) -> None:
    (place / "real").mkdir()
    (place / "linked2").symlink_to("real")
    with pytest.raises(MedleyError, match="are the same file"):
        check_outputs(place / "in", [place / x for x in results], [place / x for x in files], overwrite=overwrite)


def test_a_hard_link_to_a_result_is_the_same_file(place) -> None:
    (place / "old.nii").touch()
    os.link(place / "old.nii", place / "page.html")
    with pytest.raises(MedleyError, match="are the same file"):
        check_outputs(place / "in", [place / "old.nii"], [place / "page.html"], overwrite=True)


@pytest.mark.parametrize("file", ["out/report.html", "out/deep/report.html"])
def test_a_report_does_not_lie_in_a_folder_that_is_replaced(place, file) -> None:
    with pytest.raises(MedleyError, match=r"is in the result .*out, which is a folder"):
        check_outputs(place / "in", [place / "out"], [place / file], overwrite=True)


def test_results_side_by_side_are_accepted(place) -> None:
    results = [place / "out" / "a", place / "out" / "a.nii", place / "out" / "A.nii"]
    check_outputs(place / "in", results, [place / "out" / "a.html", place / "out" / "record.json"], overwrite=False)


def test_what_exists_is_only_replaced_on_request(place) -> None:
    (place / "old").mkdir()
    check_outputs(place / "in", [place / "old"], overwrite=False)  # empty
    (place / "old" / "file").touch()
    with pytest.raises(MedleyError, match="old: exists already"):
        check_outputs(place / "in", [place / "old"], overwrite=False)
    check_outputs(place / "in", [place / "old"], overwrite=True)


def test_names_that_are_not_utf8_can_be_written_about(tmp_path) -> None:
    write_text(tmp_path / "page.html", "caf\udce9")
    assert (tmp_path / "page.html").read_text() == "caf\\udce9"
    write_json(tmp_path / "record.json", {"name": "caf\udce9"})
    assert "caf\\udce9" in (tmp_path / "record.json").read_text()
