import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from medley.errors import MedleyError
from medley.experiments.report import PAGE, TABLE, Experiment, markdown, page, reading, write_report
from medley.experiments.report_tables import tables, variant_tables, written
from medley.scoring.statistics import Estimate, compare_methods, verdict


@pytest.fixture(scope="module")
def several(made_scores):
    """A multi-task experiment."""
    return Experiment("made up", compare_methods(made_scores.multitask(), resamples=200), made_scores.HEADER)


@pytest.fixture(scope="module")
def restorers(made_scores):
    return Experiment("restorers", compare_methods(made_scores.restoration(), resamples=200), {})


@pytest.fixture
def panels(tmp_path):
    folder = tmp_path / "panels"
    folder.mkdir()
    Image.new("L", (4, 4)).save(folder / "dose of pt_1.png")
    return folder


def test_tables_are_of_all_then_of_each_score(several, restorers):
    titles = [table.title for table in tables(several.comparison)]
    assert titles == [
        "All tasks", "segmentation: Dice", "segmentation: Dice of each structure", "dose: dose score (Gy)",
        "dose: DVH score (Gy)", "diagnosis: AUROC", "diagnosis: balanced accuracy",
    ]  # fmt: skip
    assert [table.score for table in tables(restorers.comparison)] == ["", *2 * ["psnr", "ssim", "rmse"]]


def test_the_first_table_has_costs_and_main_scores(several):
    table = tables(several.comparison)[0]
    assert table.columns[:6] == ("method", "parameters", "GFLOPs", "training", "seeds", "Δ over stl, %")
    assert table.columns[6:] == ("segmentation: Dice", "dose: dose score (Gy)", "diagnosis: AUROC")
    stl, _, _, ctan = table.rows
    assert [cell.text for cell in stl[:6]] == ["stl", "1 M", "3", "10.0 min", "3", "–"]
    assert [cell.text for cell in ctan[:3]] == ["ctan", "4 M", "12"]
    assert ctan[5].verdict == "better"
    found = several.comparison.findings["dose", "dose_score", "ctan"].estimate
    assert (ctan[7].text, ctan[7].below) == (f"{found.value:.3f}", f"[{found.low:.3f}, {found.high:.3f}]")


def test_a_score_is_shown_with_its_difference_and_spread(several):
    table = next(table for table in tables(several.comparison) if table.score == "dose_score")
    assert table.columns == ("method", "dose score (Gy)", "difference to stl", "± over seeds")
    verdicts = {cells[0].text: cells[2].verdict for cells in table.rows}
    assert verdicts == {"stl": "", "hps": "worse", "mtan": "", "ctan": "better"}
    ctan = several.comparison.findings["dose", "dose_score", "ctan"].difference
    assert table.rows[3][2].text == f"−{-ctan.value:.3f} [−{-ctan.low:.3f}, −{-ctan.high:.3f}]"


def test_steps_are_shown_where_they_are_known(made_scores):
    rows = [replace(row, step=1500 + row.seed) for row in made_scores.restoration(seeds=(0, 2))]
    table = tables(compare_methods(rows, resamples=10))[0]
    assert table.columns[:5] == ("method", "parameters", "GFLOPs", "steps", "training")
    assert {len(cells) for cells in table.rows} == {len(table.columns)}
    assert table.rows[0][3].text == "1,501"


def test_variants_are_beside_their_methods(made_scores):
    """The differences are those to the method that a variant is of, not to the baseline."""
    rows = made_scores.restoration({"a": 0.0, "b": 1.0, "b-worse": 0.5, "b-same": 1.0})

    def pair(variant):
        return compare_methods([row for row in rows if row.method in ("b", variant)], baseline="b", resamples=200)

    shown = variant_tables([pair("b-worse"), pair("b-same")])
    assert [table.title for table in shown] == ["Variants: PSNR (dB)", "Variants: SSIM", "Variants: RMSE"]
    psnr, _, rmse = shown
    assert [(cells[0].text, cells[1].text) for cells in psnr.rows] == [
        (method, task) for method in ("b-worse", "b-same") for task in ("ct-denoise", "pet-denoise")
    ]
    assert [cells[4].verdict for cells in psnr.rows] == ["worse", "worse", "", ""]
    assert [cells[4].verdict for cells in rmse.rows] == ["worse", "worse", "", ""]
    whole = compare_methods(rows, resamples=200)
    original, variant = (whole.findings["ct-denoise", "psnr", name].estimate for name in ("b", "b-worse"))
    assert [cell.text for cell in psnr.rows[0][2:4]] == [
        f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in (original, variant)
    ]


def test_pages_and_markdown_have_the_variants(made_scores):
    rows = made_scores.restoration({"a": 0.0, "a<b>": 1.0})
    comparison = compare_methods(rows, resamples=10)
    experiment = Experiment("x", comparison, {"variants": json.dumps({"a<b>": "a"})}, variants=[comparison])
    assert "## Variants: SSIM" in markdown([experiment])
    html = page([experiment], {})
    assert "Variants: SSIM" in html
    assert "<b>" not in html.partition("Variants: SSIM")[2].partition("</td>")[0]
    assert ">variants<" not in html  # this entry of the header is for machines


def test_numbers_are_written_as_people_do():
    assert written("dice", 0.81249) == "0.812"
    assert written("psnr", -3.456, signed=True) == "−3.46"
    assert written("ssim", 0.5, signed=True) == "+0.5000"
    assert written("dice Larynx", -0.0001, signed=True) == "0.000"
    assert written("rmse", float("nan")) == "–"


def test_a_verdict_needs_an_interval_without_zero():
    assert verdict(Estimate(1, 0.5, 2), higher=True) == "better"
    assert verdict(Estimate(1, 0.5, 2), higher=False) == "worse"
    assert verdict(Estimate(1, -0.5, 2), higher=True) == ""
    assert verdict(Estimate(1, 0, 2), higher=True) == ""


def test_markdown_has_a_line_a_method_and_bold_where_it_differs(several):
    text = markdown([several])
    blocks = re.findall(r"(?m)^\| method .*\n\| --- .*\n((?:\|.*\n?)+)", text)
    assert [len(block.splitlines()) for block in blocks] == [4] * 6
    assert len({line.count("|") for line in blocks[0].splitlines()}) == 1
    dose = next(line for line in text.splitlines() if line.startswith("| ctan | 2.8"))
    assert "**−0." in dose
    assert "95 % interval of 200 resamples of the 40 subjects" in text


def test_measures_of_a_task_are_one_table_without_verdicts(made_scores):
    rows = made_scores.restoration({"a": 0.0, "b": 1.0})
    for k, row in enumerate(rows):
        if row.task == "ct-denoise":
            row.values.update({"noise": 10.0 + (row.method == "b"), "sharpness": 0.9, "bias": -0.001 * k})
    comparison = compare_methods(rows, resamples=200)
    found = tables(comparison)
    titles = [table.title for table in found]
    assert titles.count("ct-denoise: measures") == 1
    assert "pet-denoise: measures" not in titles
    table = found[titles.index("ct-denoise: measures")]
    assert table.columns == ("measure", "a", "b")
    noise, bias, sharpness = table.rows
    assert [cell.text for cell in noise] == ["noise (HU)", "10.00 [10.00, 10.00]", "11.00 [11.00, 11.00]"]
    assert (noise[2].below, noise[2].verdict) == ("+1.00 [+1.00, +1.00]", "")
    assert (bias[0].text, sharpness[0].text) == ("bias (HU)", "edge sharpness / that of the target")
    html = page([Experiment("x", comparison, {}, curves={"ct-denoise-noise-strength": "<svg>drawn</svg>"})], {})
    assert "<h3>ct-denoise: measures</h3>" in html
    assert "<figure><svg>drawn</svg></figure>" in html


def test_bars_in_names_do_not_break_the_table(made_scores):
    comparison = compare_methods(made_scores.restoration({"a|b": 0, "c": 1}), resamples=10)
    lines = [line for line in tables(comparison)[0].markdown().splitlines() if "a\\|b" in line]
    assert lines[1].startswith("| a\\|b | 26 M |")


def test_the_text_lists_clear_and_unclear_differences(several):
    hps, mtan, ctan = reading(several.comparison)
    assert hps.startswith("hps compared with stl. Worse: segmentation: Dice −0.0")
    assert "Better: segmentation: Dice +0.0" in ctan
    assert "dose: DVH score (Gy) −0.1" in ctan
    assert "No clear difference: " in mtan
    assert "dose: dose score (Gy) +0.0" in mtan
    assert "Larynx" not in ctan


def test_a_page_needs_nothing_from_elsewhere(several, restorers):
    html = page([several, restorers], {"a < b": b"png"})
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    assert html.count("<svg") == 2 + 2 * 2 + 3 + 2 * 3 * 2
    assert "a &lt; b" in html
    assert html.count("<h2>") == 3  # two experiments and the images
    assert "prefers-color-scheme: dark" in html
    assert '"targets"' not in html  # the task is for machines


def test_names_cannot_write_html(made_scores):
    comparison = compare_methods(made_scores.restoration({"<script>": 0, "b": 1}), resamples=10)
    experiment = Experiment("<script>", comparison, {"command": "<script>"})
    html = page([experiment], {"<script>": b""})
    assert "<script>" not in html
    assert "<script>" not in markdown([experiment])
    assert "&lt;script&gt;" in markdown([experiment])


def test_a_folder_gets_page_table_and_charts(several, panels, tmp_path):
    written = write_report([several], tmp_path / "out", panels=panels)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert sorted(path.name for path in written) == names
    assert written[0].name == PAGE
    assert names == sorted([
        PAGE, TABLE, "segmentation-dice.svg", "segmentation-dice-cases.svg", "dose-dose_score.svg",
        "dose-dose_score-cases.svg", "dose-dvh_score.svg", "dose-dvh_score-cases.svg", "diagnosis-auroc.svg",
        "diagnosis-auroc-cases.svg", "diagnosis-balanced_accuracy.svg",
    ])  # fmt: skip
    assert "data:image/png;base64," in written[0].read_text()
    assert "<h2>" not in written[0].read_text().partition("Images")[0].rpartition("<h2>")[0]


def test_charts_of_several_experiments_do_not_meet(several, restorers, tmp_path):
    write_report([several, restorers], tmp_path)
    assert (tmp_path / "made-up-dose-dvh_score.svg").exists()
    assert (tmp_path / "restorers-pet-denoise-ssim-cases.svg").exists()


def test_a_file_gets_the_page_alone(restorers, tmp_path):
    assert write_report([restorers], tmp_path / "a" / "one.html") == [tmp_path / "a" / "one.html"]


def test_what_exists_stays_unless_allowed(restorers, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / TABLE).write_text("mine")
    with pytest.raises(MedleyError, match=r"table\.md: exists already"):
        write_report([restorers], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", TABLE]
    write_report([restorers], tmp_path, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / TABLE).read_text() != "mine"


def test_other_outputs_and_images_are_refused(restorers, panels, tmp_path):
    with pytest.raises(MedleyError, match=r"report\.pdf: a report is a folder or a file that ends in \.html"):
        write_report([restorers], tmp_path / "report.pdf")
    (panels / "z.png").write_text("no picture")
    with pytest.raises(MedleyError, match=r"z\.png: cannot be read as a PNG image"):
        write_report([restorers], tmp_path / "out", panels=panels)
    with pytest.raises(MedleyError, match="holds no PNG images"):
        write_report([restorers], tmp_path / "out", panels=tmp_path)
    assert not (tmp_path / "out").exists()
