"""`medley doctor`: is this installation whole?"""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import medley
from medley.apps.listing import new_table, show
from medley.errors import MedleyError

EXTRAS = ("formats", "train", "radiotherapy", "baselines", "onnx")
# DICOM transfer syntaxes that medley promises to read, by their names in pydicom.uid.
SYNTAXES = (
    "ImplicitVRLittleEndian",
    "ExplicitVRLittleEndian",
    "DeflatedExplicitVRLittleEndian",
    "ExplicitVRBigEndian",
    "RLELossless",
    "JPEGLossless",
    "JPEGLosslessSV1",
    "JPEGLSLossless",
    "JPEGLSNearLossless",
    "JPEG2000Lossless",
    "JPEG2000",
)
_RAW = 4  # the first so many need no decoder


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `essential`: without it medley does not do what it promises."""

    what: str
    found: str
    good: bool
    essential: bool = True


def doctor(*, as_json: bool = False) -> bool:
    """Look at everything, print it, and say whether all that is essential is good."""
    findings = [*versions(), *codecs(), *packaged_weights(), *extras()]
    if as_json:
        print(json.dumps([asdict(one) for one in findings], indent=2))
    else:
        table = new_table("", "what", "found")
        for one in findings:
            mark = "[green]ok[/]" if one.good else ("[red]broken[/]" if one.essential else "[dim]absent[/]")
            table.add_row(mark, one.what, one.found)
        show(table)
    return all(one.good or not one.essential for one in findings)


def versions() -> list[Finding]:
    """Python, medley and what it stands on; processor cores and threads; accelerators."""
    found = [
        Finding("medley", medley.__version__, True),
        Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", True),
    ]
    for name in _needed(extra=None):
        here = _version(name)
        found.append(Finding(name, here or "not installed", here is not None))
    try:
        import torch
    except (ImportError, OSError) as error:
        return [*found, Finding("torch starts", str(error), False)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return [
        *found,
        Finding("processor", f"{cores} cores, {torch.get_num_threads()} threads", True),
        Finding("CUDA device", cuda, cuda != "none", essential=False),
    ]


def codecs() -> list[Finding]:
    """For each DICOM transfer syntax the decoders that are there."""
    import pydicom.uid
    from pydicom.pixels import get_decoder

    found = []
    for k, name in enumerate(SYNTAXES):
        if k < _RAW:
            found.append(Finding(f"DICOM {name}", "not compressed", True))
            continue
        decoder = get_decoder(getattr(pydicom.uid, name))
        plugins = ", ".join(decoder.available_plugins) if decoder.is_available else "no decoder"
        found.append(Finding(f"DICOM {name}", plugins, decoder.is_available))
    return found


def packaged_weights() -> list[Finding]:
    """Every packaged weights file, loaded and compared with its checksum."""
    try:
        from medley.models import weights
    except (ImportError, OSError) as error:
        return [Finding("packaged weights", str(error), False)]
    return [_verified(name, path) for name, path in weights.packaged().items()]


def extras() -> list[Finding]:
    """The optional parts."""
    found = []
    for extra in EXTRAS:
        missing = missing_of(extra)
        text = f"{', '.join(missing)} not installed: pip install 'medley[{extra}]'" if missing else "installed"
        found.append(Finding(f"extra {extra}", text, not missing, essential=False))
    return found


def missing_of(extra: str) -> list[str]:
    """The packages of an extra that are not installed."""
    return [name for name in _needed(extra) if _version(name) is None]


def _verified(name: str, path: Path) -> Finding:
    from medley.models import weights

    try:
        _, description = weights.load(path)
    except MedleyError as error:
        return Finding(f"weights {name}", str(error), False)
    return Finding(f"weights {name}", f"checksum right, {', '.join(description.tasks)}", True)


def _needed(extra: str | None) -> list[str]:
    """The packages that medley asks for: always (None), or in an extra."""
    names = []
    for line in requires("medley") or []:
        marker = re.search(r"extra == ['\"](\w+)['\"]", line)
        if (marker.group(1) if marker else None) == extra:
            names.append(re.match(r"[\w.-]+", line).group(0))  # type: ignore[union-attr]
    return names


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
