"""`medley export`: a restorer as a file for other programs."""

from __future__ import annotations

from pathlib import Path

from medley.apps._outputs import check_outputs
from medley.apps._terminal import say
from medley.errors import MedleyError
from medley.models import export as files
from medley.models import loading
from medley.runtime.atomic import replacing


def export(model: str, output: Path, *, overwrite: bool = False, quiet: bool = False) -> None:
    """Write a restorer as ONNX or for torch.export, compare the file with the network, then let it take its name.

    Parameters
    ----------
    model: a packaged name or a weights file.
    output: FILE.onnx or FILE.pt2.

    Raises
    ------
    MedleyError: no such model, or one that predicts; another suffix; the file does not give what the network gives.
    """
    if output.suffix not in files.SUFFIXES:
        raise MedleyError(f"{output}: expected a name that ends in {' or '.join(files.SUFFIXES)}")
    source = loading.find(model)
    check_outputs(source, [output], overwrite=overwrite)
    if source.suffix == ".onnx":
        raise MedleyError(f"{source}: is exported already; give the weights file it was made from")
    loaded = loading.load(model)
    with replacing(output, overwrite=overwrite) as temporary:
        difference = files.write(temporary, loaded.model, loaded.description, loaded.sha256)
        size = temporary.stat().st_size / 1e6
    say(f"{loaded.description.name}: {size:.1f} MB, off by {difference:.1g} at most -> {output}", quiet=quiet)
