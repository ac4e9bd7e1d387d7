import stat

import pytest

from medley.data.pseudonyms import pseudonym, read_secret
from medley.errors import MedleyError


def test_pseudonyms_depend_on_name_and_secret_only():
    names = ["", ".", "..", "Ann", "ann", "a/b", "Müller^Jörg"]
    first, again, other = ([pseudonym(name, secret) for name in names] for secret in (b"a" * 16, b"a" * 16, b"b" * 16))
    assert first == again
    assert len(set(first + other)) == 2 * len(names)
    assert all(len(one) == 16 and set(one) <= set("0123456789abcdef") for one in first)


def test_a_secret_is_created_once_and_private(tmp_path):
    path = tmp_path / "keys" / "secret.txt"
    secret = read_secret(path)
    assert len(secret) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secret(path) == secret
    assert read_secret(tmp_path / "other.txt") != secret


def test_a_short_secret_and_a_folder_are_refused(tmp_path):
    (tmp_path / "short").write_text("hospital\n")
    with pytest.raises(MedleyError, match="has 8 bytes, but a secret for pseudonyms needs at least 16"):
        read_secret(tmp_path / "short")
    with pytest.raises(MedleyError, match="cannot be read"):
        read_secret(tmp_path)
