"""Pseudonyms: names of subjects and records that do not reveal those of the patients."""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path

from medley.errors import MedleyError
from medley.runtime.atomic import replacing

_BYTES = 32  # of a new secret
_SHORTEST = 16
_DIGITS = 16  # of a pseudonym: two of a million names are the same with a probability of 3e-8


def read_secret(path: Path) -> bytes:
    """The secret in a file; a file that does not exist is created with a random secret, readable by its owner only.

    Raises
    ------
    MedleyError: the file cannot be read or written, or has fewer than 16 bytes.
    """
    if not path.exists():
        with replacing(path, mode=0o600) as temporary:
            temporary.write_text(secrets.token_hex(_BYTES) + "\n")
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise MedleyError(f"{path}: cannot be read ({error.strerror}); expected a file with a secret") from error
    if len(secret) < _SHORTEST:
        raise MedleyError(
            f"{path}: has {len(secret)} bytes, but a secret for pseudonyms needs at least {_SHORTEST}; remove the file "
            f"to have one created, or choose another"
        )
    return secret


def pseudonym(name: str, secret: bytes) -> str:
    """16 hexadecimal digits of HMAC-SHA256 of a name: the same for the same secret, not invertible without it."""
    return hmac.new(secret, name.encode(), "sha256").hexdigest()[:_DIGITS]
