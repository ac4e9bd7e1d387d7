"""`medley export`: writes a network as a file for other programs, or its weights in half precision."""

from __future__ import annotations

from pathlib import Path

from medley.apps._outputs import check_outputs
from medley.apps._terminal import say
from medley.errors import MedleyError
from medley.inference import loading
from medley.models import export as files
from medley.models import weights
from medley.runtime.atomic import replacing


def export(model: str, output: Path, *, overwrite: bool = False, quiet: bool = False) -> None:
    """Write a restoration network as ONNX or for torch.export, after comparing the file's output with the network's.

    Or write the weights of any network in half precision, for distribution.

    Parameters
    ----------
    model: a packaged name or a weights file.
    output: FILE.onnx, FILE.pt2, or FILE.safetensors for weights.

    Raises
    ------
    MedleyError: there is no such model, or it predicts; another suffix; the output of the file differs.
    """
    known = (*files.SUFFIXES, weights.SUFFIX)
    if output.suffix not in known:
        raise MedleyError(f"{output}: the name must end in {' or '.join(known)}")
    source = loading.find(model)
    check_outputs(source, [output], overwrite=overwrite)
    if source.suffix == ".onnx":
        raise MedleyError(f"{source}: is an exported file already; give the weights file it was made from")
    loaded = loading.load_network(model, "cpu")
    if output.suffix == weights.SUFFIX:
        weights.save(output, loaded.model, loaded.description, half=True)
        size = output.stat().st_size / 1e6
        say(f"{loaded.description.name}: {size:.1f} MB in half precision -> {output}", quiet=quiet)
        return
    with replacing(output, overwrite=overwrite) as temporary:
        difference = files.write(temporary, loaded.model, loaded.description, loaded.sha256)
        size = temporary.stat().st_size / 1e6
    say(f"{loaded.description.name}: {size:.1f} MB, largest difference {difference:.1g} -> {output}", quiet=quiet)
