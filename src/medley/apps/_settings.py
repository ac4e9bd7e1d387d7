"""NAME=VALUE settings of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medley.runtime.configuration import parse_setting


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """{"name": value}; values are read as YAML, so 0.25 and 1e-3 are numbers and [1, 2] is a list.

    Raises
    ------
    MedleyError: a setting has no "=", or its value is not YAML.
    """
    return dict(parse_setting(setting) for setting in settings)
