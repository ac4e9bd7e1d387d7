"""What the README and the model cards promise is there, and the numbers are those of results/."""

import csv
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest

import medley
from medley.experiments.report_tables import tables
from medley.models import weights
from medley.normalisation import Normalisation
from medley.physics import create_degradation
from medley.scoring.rows import read_scores
from medley.scoring.statistics import compare_methods
from medley.scoring.summary import cells, summary
from medley.tasks import TASKS, VOLUME_TASKS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PACKAGED = ("slab", "tat-tiny", "amir-tiny")
# Of several answers: weights -> the file of the scores that its card states.
SEVEN = "slab-seven"
PREDICTORS = {
    "ctan-openkbp": "ctan-openkbp-packaged.csv",
    "stl-openkbp-dose": "stl-openkbp-dose-packaged.csv",
    "ctan-isic": "ctan-isic-packaged.csv",
}
COMPARISONS = ("ctan-openkbp.csv", "ctan-openkbp-structures.csv", "ctan-skin.csv")
CLASSICAL = ("input", "gaussian", "total-variation", "non-local-means")


@pytest.fixture(scope="module")
def table():
    """{(task, method): Summary} of results/tiny.csv."""
    return {(one.task, one.method): one for one in summary(read_scores(ROOT / "results" / "tiny.csv")[0])}


def test_the_packaged_weights_are_there_and_small():
    found = weights.packaged()
    assert set(found) == {*PACKAGED, SEVEN, *PREDICTORS}
    sizes = [path.stat().st_size for path in found.values()]
    assert max(sizes) < 6e6
    assert sum(sizes) < 25e6


@pytest.mark.parametrize("task", VOLUME_TASKS)
@pytest.mark.parametrize("model", PACKAGED)
def test_every_packaged_model_beats_the_input_and_the_classical_methods(table, model, task):
    ours = table[task, model]
    for method in CLASSICAL:
        theirs = table[task, method]
        assert theirs.slices == ours.slices
        assert ours.scores["psnr"] > theirs.scores["psnr"], method
        assert ours.scores["ssim"] > theirs.scores["ssim"], method


def test_the_page_on_image_quality_has_the_numbers_of_the_phantom():
    rows = read_scores(ROOT / "results" / "ct-phantom.csv")[0]
    page = (ROOT / "docs" / "image-quality.md").read_text()
    assert len({row.title for row in rows}) == 3
    for dose in dict.fromkeys(row.title for row in rows):
        of_dose = [row for row in rows if row.title == dose]
        assert tuple(row.method for row in of_dose) == ("input", *PACKAGED)
        table = page.partition(f"| {dose} |")[2].partition("\n\n")[0]
        for title, name, form in (
            ("noise (HU)", "noise", ".1f"),
            ("bias (HU)", "bias", "z.1f"),
            ("contrast of 14 HU kept", "contrast_kept", ".2f"),
            ("transfer at 0.2/mm", "transfer 0.2", ".2f"),
            ("CNR", "cnr", ".2f"),
            ("d'", "d_prime", ".2f"),
            ("AUC", "auc", ".2f"),
        ):
            numbers = " | ".join(f"{row.values[name]:{form}}" for row in of_dose)
            assert f"| {title} | {numbers} |" in table, (dose, title)


def test_the_readme_has_the_numbers_of_the_results(table):
    for line in cells(table.values()):
        assert f"| {' | '.join(line)} |" in README


@pytest.mark.parametrize("model", PACKAGED)
def test_the_model_card_has_them_too_and_says_what_a_card_must(table, model):
    card = weights.packaged()[model].with_suffix(".md").read_text()
    for word in ("licence", "Limits", "Not for diagnosis", "steps"):
        assert word.lower() in card.lower()
    for line in cells(table[task, model] for task in VOLUME_TASKS):
        assert f"| {' | '.join((line[0], *line[2:]))} |" in card


def test_the_network_for_all_tasks_beats_the_input_and_its_card_has_the_numbers():
    card = weights.packaged()[SEVEN].with_suffix(".md").read_text()
    found = {(one.task, one.method): one for one in summary(read_scores(ROOT / "results" / "slab-seven.csv")[0])}
    assert {task for task, _ in found} == set(TASKS)
    for task in TASKS:
        ours, theirs = found[task, SEVEN], found[task, "input"]
        assert ours.slices == theirs.slices
        assert ours.scores["psnr"] > theirs.scores["psnr"]
    for line in cells(found.values()):
        assert f"| {' | '.join(line)} |" in card
    for word in ("licence", "Limits", "Not for diagnosis", "steps"):
        assert word.lower() in card.lower()


@pytest.mark.parametrize("model", PACKAGED)
# The slice is cut out of a body: it shows no air, unlike the training scans.
@pytest.mark.filterwarnings("ignore:unlike the training scans:medley.errors.MedleyNotice")
def test_a_packaged_model_betters_a_real_low_dose_slice(model):
    scan = medley.read(Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm")
    low_dose = create_degradation("ct-low-dose", dose=0.25)
    worse = low_dose.apply(scan, low_dose.draw(np.random.default_rng(1)))
    better = medley.load(model).restore(worse)
    before, after = (medley.score(volume, scan, "ct-denoise") for volume in (worse, better))
    assert after["psnr"] > before["psnr"] + 1
    assert after["ssim"] > before["ssim"]


def written(name: str) -> list[str]:
    """The lines of the tables of a file of scores: each method's scores, without those of single structures."""
    rows, header = read_scores(ROOT / "results" / name)
    found = tables(compare_methods(rows, baseline=header.get("baseline")))
    return [line for table in found if not table.task or table.score for line in table.markdown().splitlines()]


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_multitask_page_has_the_numbers_of_the_results(name):
    page = (ROOT / "docs" / "multitask.md").read_text()
    lines = written(name)
    assert len(lines) > 6
    assert [line for line in lines if line not in page] == []


@pytest.mark.parametrize("model", PREDICTORS)
def test_the_card_of_a_predictor_has_its_numbers_and_says_what_a_card_must(model):
    card = weights.packaged()[model].with_suffix(".md").read_text()
    for word in ("licence", "Limits", "Not for diagnosis", "steps"):
        assert word.lower() in card.lower()
    assert [line for line in written(PREDICTORS[model]) if line not in card] == []


def test_every_recipe_and_page_the_readme_names_is_there():
    names = re.findall(r"\((docs/[\w./-]+)\)|(recipes/[\w.-]+\.yaml)", README)
    assert names
    assert [name for pair in names for name in pair if name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("model", PACKAGED)
def test_no_seam_shows_in_a_slice_larger_than_any_patch(model):
    """Noise has no lines: inside an even body the answer, averaged along rows or columns, must not jump anywhere."""
    row, column = np.mgrid[:320, :320] / 320
    body = np.where((row - 0.45) ** 2 + (column - 0.4) ** 2 < 0.1, 40, -1000)
    noisy = (body + np.random.default_rng(0).normal(0, 30, (6, 320, 320))).astype(np.float32)
    restorer = medley.load(model)
    restored = restorer.restore_slices(noisy, "ct-denoise", Normalisation(*TASKS["ct-denoise"].range))
    for axis in (1, 2):
        line = restored[:, 100:190, 70:190].mean(axis=(0, axis))
        jumps = np.abs(np.diff(line))
        assert jumps.max() < 10 * np.median(jumps)  # 3 to 5 here; 25 with local attention in windows of 96


SPEED_COLUMNS = (
    "network", "what", "count", "side", "precision", "form", "seconds", "peak_MB", "floor_seconds", "share", "ratio",
)  # fmt: skip
BEFORE_AFTER = (
    "network", "what", "count", "side", "turns", "before_seconds", "after_seconds", "ratio", "before_peak_MB",
    "after_peak_MB",
)  # fmt: skip


@pytest.mark.parametrize(
    ("table", "columns", "shown"),
    [
        ("speed.csv", SPEED_COLUMNS, lambda row: True),
        ("volume.csv", None, lambda row: True),
        ("bfloat16-training.csv", None, lambda row: row["step"] == "500"),
        ("decoding.csv", None, lambda row: True),
        ("speed-before-after.csv", BEFORE_AFTER, lambda row: True),
    ],
)
def test_the_speed_page_has_the_numbers_of_the_results(table, columns, shown):
    page = (ROOT / "docs" / "speed.md").read_text()
    with open(ROOT / "results" / table, newline="") as file:
        rows = [row for row in csv.DictReader(file) if shown(row)]
    lines = [f"| {' | '.join(row[column] for column in columns or row)} |" for row in rows]
    assert len(lines) > 3
    assert all(line in page for line in lines)


def test_the_readme_has_the_numbers_of_good_scans():
    with open(ROOT / "results" / "good-scans.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "tat-tiny"]
    lines = [f"| {' | '.join(text or '–' for name, text in row.items() if name != 'model')} |" for row in rows]
    assert len(lines) == 3
    assert [line for line in lines if line not in README] == []


def test_the_interference_page_has_the_numbers_of_the_results():
    page = (ROOT / "docs" / "interference.md").read_text()
    lines = (ROOT / "results" / "interference-amir-tiny.csv").read_text().splitlines()
    rows = list(csv.DictReader(one for one in lines if not one.startswith("#")))
    others = [row for row in rows if row["task"] != row["other"]]
    assert len(others) == 18
    for row in others:
        value, low, high = (
            f"{round(float(row[name]), 2) + 0.0:.2f}".replace("-", "−")
            for name in ("interference", "interference_low", "interference_high")
        )
        layers = row["layers"].replace("*", "all")
        assert f"| {layers} | {row['task']} | {row['other']} | {value} | {low} to {high} |" in page
