"""`medley doctor`: checks the installation."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.text import Text

import medley
from medley.apps._tables import new_table, show
from medley.errors import MedleyError
from medley.runtime.extras import EXTRAS, install_hint, installed_version, missing_packages, packages_of

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
_UNCOMPRESSED = 4  # the first of them need no decoder


@dataclass(frozen=True)
class Check:
    """One checked part of the installation. `essential`: without it medley does not work as documented."""

    what: str
    found: str
    good: bool
    essential: bool = True


def doctor(*, as_json: bool = False) -> bool:
    """Check everything and print it; returns whether all essential parts are good."""
    checks = [*versions(), *codecs(), *packaged_weights(), *extras()]
    if as_json:
        print(json.dumps([asdict(one) for one in checks], indent=2))
    else:
        table = new_table("", "what", "found")
        for one in checks:
            word, style = ("ok", "green") if one.good else ("broken", "red") if one.essential else ("absent", "dim")
            table.add_row(Text(word, style), one.what, one.found)
        show(table)
    return all(one.good or not one.essential for one in checks)


def versions() -> list[Check]:
    """Python, medley and the packages it needs; processor cores and threads; accelerators."""
    found = [
        Check("medley", medley.__version__, True),
        Check("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", True),
    ]
    for name in packages_of(None):
        here = installed_version(name)
        found.append(Check(name, here or "not installed", here is not None))
    try:
        import torch
    except (ImportError, OSError) as error:
        return [*found, Check("torch starts", str(error), False)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return [
        *found,
        Check("processor", f"{cores} cores, {torch.get_num_threads()} threads", True),
        Check("CUDA device", cuda, cuda != "none", essential=False),
    ]


def codecs() -> list[Check]:
    """The decoders for each DICOM transfer syntax."""
    import pydicom.uid
    from pydicom.pixels import get_decoder

    found = []
    for k, name in enumerate(SYNTAXES):
        if k < _UNCOMPRESSED:
            found.append(Check(f"DICOM {name}", "not compressed", True))
            continue
        decoder = get_decoder(getattr(pydicom.uid, name))
        plugins = ", ".join(decoder.available_plugins) if decoder.is_available else "no decoder"
        found.append(Check(f"DICOM {name}", plugins, decoder.is_available))
    return found


def packaged_weights() -> list[Check]:
    """Every packaged weights file, loaded and compared with its checksum."""
    try:
        from medley.models import weights
    except (ImportError, OSError) as error:
        return [Check("packaged weights", str(error), False)]
    return [_verified(name, path) for name, path in weights.packaged().items()]


def extras() -> list[Check]:
    """The optional dependencies."""
    checks = []
    for extra in EXTRAS:
        missing = missing_packages(extra)
        text = f"{', '.join(missing)} not installed: {install_hint(extra)}" if missing else "installed"
        checks.append(Check(f"extra {extra}", text, not missing, essential=False))
    return checks


def _verified(name: str, path: Path) -> Check:
    from medley.models import weights

    try:
        _, description = weights.load(path)
    except MedleyError as error:
        return Check(f"weights {name}", str(error), False)
    return Check(f"weights {name}", f"checksum correct, {', '.join(description.tasks)}", True)
