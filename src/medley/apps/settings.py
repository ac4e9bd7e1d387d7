"""NAME=VALUE on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from medley.errors import MedleyError


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """{"name": value}; values are read as YAML, so 0.25 is a number and [1, 2] a list.

    Raises
    ------
    MedleyError: no "=", or a value that is no YAML.
    """
    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise MedleyError(f"--set {setting}: expected name=value, such as dose=0.25")
        try:
            values[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise MedleyError(f"--set {setting}: {value!r} cannot be read as a value") from error
    return values
