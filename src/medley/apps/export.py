"""`medley export`: writes a restoration network as a file for other programs."""

from __future__ import annotations

from pathlib import Path

from medley.apps._outputs import check_outputs
from medley.apps._terminal import say
from medley.errors import MedleyError
from medley.inference import loading
from medley.models import export as files
from medley.runtime.atomic import replacing


def export(model: str, output: Path, *, overwrite: bool = False, quiet: bool = False) -> None:
    """Write a restoration network as ONNX or for torch.export, after comparing the file's output with the network's.

    Parameters
    ----------
    model: a packaged name or a weights file.
    output: FILE.onnx or FILE.pt2.

    Raises
    ------
    MedleyError: there is no such model, or it predicts; another suffix; the output of the file differs.
    """
    if output.suffix not in files.SUFFIXES:
        raise MedleyError(f"{output}: the name must end in {' or '.join(files.SUFFIXES)}")
    source = loading.find(model)
    check_outputs(source, [output], overwrite=overwrite)
    if source.suffix == ".onnx":
        raise MedleyError(f"{source}: is an exported file already; give the weights file it was made from")
    loaded = loading.load_network(model, "cpu")
    with replacing(output, overwrite=overwrite) as temporary:
        difference = files.write(temporary, loaded.model, loaded.description, loaded.sha256)
        size = temporary.stat().st_size / 1e6
    say(f"{loaded.description.name}: {size:.1f} MB, largest difference {difference:.1g} -> {output}", quiet=quiet)
