"""Parts of all reports."""

import pytest

from medley.apps._page import minus


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-1,024 HU", "−1,024 HU"),
        ("0.5 (trained: -3 to -1e-05)", "0.5 (trained: −3 to −1e−05)"),
        ("cross-section of ctan-openkbp", "cross-section of ctan-openkbp"),
        ("net-2 on 2026-11-27", "net-2 on 2026-11-27"),
    ],
)
def test_negative_numbers_have_minus_signs_and_words_keep_their_hyphens(text, expected):
    assert minus(text) == expected
