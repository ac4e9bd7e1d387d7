"""Optional dependencies: which are missing, and how they are installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version

from medley.errors import MedleyError

EXTRAS = ("formats", "train", "radiotherapy", "baselines", "onnx", "pacs")


def require_extra(extra: str) -> None:
    """Check that the packages of an extra are installed, before anything that needs them is imported.

    Raises
    ------
    MedleyError: some are not installed; the message contains the command that installs them.
    """
    if missing := missing_packages(extra):
        verb = "is" if len(missing) == 1 else "are"
        raise MedleyError(f"{', '.join(missing)} {verb} not installed; {install_hint(extra)}")


def install_hint(extra: str) -> str:
    """How to install an extra. medley is installed from its source, it is not in a package index."""
    return f'run pip install ".[{extra}]" in the folder that holds the source of medley'


def missing_packages(extra: str | None) -> list[str]:
    """The packages of an extra (None: those that medley always needs) that are not installed."""
    return [name for name in packages_of(extra) if installed_version(name) is None]


def packages_of(extra: str | None) -> list[str]:
    """The packages that medley requires: always (None), or for an extra."""
    names = []
    for line in requires("medley") or []:
        marker = re.search(r"extra == ['\"](\w+)['\"]", line)
        if (marker.group(1) if marker else None) == extra:
            names.append(re.match(r"[\w.-]+", line).group(0))  # type: ignore[union-attr]
    return names


def installed_version(name: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
