"""`medley report` from the command line."""

import pytest

from medley.scoring.rows import write_scores


@pytest.fixture
def scores(made_scores, tmp_path):
    return write_scores(made_scores.multitask(cases=12), tmp_path / "scores.csv", header=made_scores.HEADER)


def test_it_writes_the_report_and_prints_the_tables(medley, scores, tmp_path) -> None:
    result = medley("report", scores, "-o", tmp_path / "out")
    assert result.code == 0, result.err
    assert "Δ over stl, %" in result.out
    assert "made: dose: DVH score (Gy)" in result.out
    assert result.out.count("ctan") == 7
    assert "11 files ->" in result.err
    assert (tmp_path / "out" / "report.html").exists()


def test_files_of_one_experiment_are_put_together(medley, made_scores, tmp_path) -> None:
    rows = made_scores.multitask(cases=12)
    parts = [
        write_scores(
            [r for r in rows if (r.method == "ctan") == mine], tmp_path / f"{mine}.csv", header=made_scores.HEADER
        )
        for mine in (True, False)
    ]
    together, alone = tmp_path / "a.html", tmp_path / "b.html"
    assert medley("report", *parts, "-o", together).code == 0
    whole = write_scores(
        sorted(rows, key=lambda r: r.method != "ctan"), tmp_path / "whole.csv", header=made_scores.HEADER
    )
    assert medley("report", whole, "-o", alone).code == 0
    assert together.read_text() == alone.read_text()


def test_experiments_stay_apart_though_their_tasks_share_a_name(medley, made_scores, scores, tmp_path) -> None:
    other = made_scores.multitask(cases=9, seed=1)
    header = {**made_scores.HEADER, "experiment": "other"}
    more = write_scores(other, tmp_path / "other.csv", header=header)
    result = medley("report", scores, more, "-o", tmp_path / "out")
    assert result.code == 0, result.err
    assert "made: dose: DVH score" in result.out
    assert "other: dose: DVH score" in result.out


def test_restorers_are_reported_too(medley, made_scores, tmp_path) -> None:
    path = write_scores(made_scores.restoration(), tmp_path / "restorers.csv")
    result = medley("report", path, "-o", tmp_path / "page.html", "--baseline", "hps", "-q")
    assert result.code == 0
    assert result.err == ""
    assert "restorers: pet-denoise: PSNR (dB)" in result.out
    assert "difference to hps" in result.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["{scores}", "--baseline", "unet"], "there is no method 'unet'"),
        (["{scores}", "{scores}"], "has two rows"),
        (["{other}"], "is not a table of scores"),
        (["{empty}"], "is empty"),
        (["{nowhere}"], "cannot be read"),
        (["{scores}", "--panels", "{nowhere}"], "is not a folder of images"),
    ],
)
def test_bad_input_is_one_sentence(medley, scores, tmp_path, arguments, complaint) -> None:
    (tmp_path / "other.csv").write_text("method,task\na,b\n")
    (tmp_path / "empty.csv").write_text("")
    names = {
        "scores": scores,
        "other": tmp_path / "other.csv",
        "empty": tmp_path / "empty.csv",
        "nowhere": tmp_path / "x",
    }
    result = medley("report", *(one.format(**names) for one in arguments), "-o", tmp_path / "out")
    assert result.code == 1
    assert complaint in result.err
    assert not (tmp_path / "out").exists()
