import csv
import io

import numpy as np
import pytest

from medley.runtime.text import csv_cell, did_you_mean, from_csv_cell, printable


@pytest.mark.parametrize(
    ("word", "options", "expected"),
    [
        ("step", ["seed", "steps"], "; did you mean 'steps'?"),
        ("STEPS", ["seed", "steps"], "; did you mean 'steps'?"),
        ("ct-denoising", ["mr-sr", "ct-denoise", "pet-denoise"], "; did you mean 'ct-denoise'?"),
        ("tat-tny", ["tat-tiny", "amir-tiny"], "; did you mean 'tat-tiny'?"),
        ("zzz", ["seed", "steps"], ""),
        ("", ["seed"], ""),
        ("seed", [], ""),
    ],
)
def test_the_most_similar_option_is_suggested(word, options, expected):
    assert did_you_mean(word, options) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Müller 患者.dcm", "Müller 患者.dcm"),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\u202eb", "a\\u202eb"),
        ("caf\udce9", "caf\\udce9"),
        ("a\u00a0b", "a b"),
        ("C:\\scans", "C:\\scans"),
    ],
)
def test_text_becomes_one_printable_line(text, expected):
    assert printable(text) == expected
    assert printable(text).isprintable()
    assert printable(text).encode()


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-cmd", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''-x"])
def test_a_formula_is_neutralised_and_read_back_unchanged(text):
    assert csv_cell(text) == f"'{text}"
    assert from_csv_cell(csv_cell(text)) == text


@pytest.mark.parametrize("text", ["", "plain", "-1.5", "+3e-5", "-inf", "'quoted'", "a=b", "1=1", "ctan-tiny"])
def test_other_cells_stay_as_they_are(text):
    assert csv_cell(text) == text
    assert from_csv_cell(text) == text


def test_any_text_survives_a_csv_file():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice([*"=+-@'\"\n\t,;a1 "], rng.integers(1, 8))) for _ in range(300)]
    file = io.StringIO(newline="")
    csv.writer(file).writerows([csv_cell(text)] for text in texts)
    cells = [row[0] for row in csv.reader(io.StringIO(file.getvalue(), newline=""))]
    assert [from_csv_cell(cell) for cell in cells] == texts
