"""Small sound files that are not scans: weights, ONNX, recipes, tables, manifests, scores, checkpoints."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seeds import Seed

import made_scores
import made_store

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SMALL = {"dim": 4, "blocks": (1, 1, 1, 1), "refinement": 1}


def _network() -> Any:
    from medley.models.weights import Description
    from medley.models.zoo import create_model

    model = create_model("restormer", **SMALL).eval()
    return model, Description("small", "restormer", model.config, ("ct-denoise",), {"steps": 1}, "0")


def _weights(folder: Path) -> Path:
    from medley.models import weights

    weights.save(folder / "a.safetensors", *_network())
    return folder / "a.safetensors"


def _load(path: Path) -> Any:
    from medley.inference.loading import load

    return load(str(path))


def _description(folder: Path) -> Path:
    """The description as a JSON file; `_described` puts it into a weights file."""
    (folder / "a.json").write_text(json.dumps(asdict(_network()[1])))
    return folder / "a.json"


def _described(path: Path) -> Any:
    from safetensors.torch import save_file

    from medley.models import weights

    tensors = {name: tensor.contiguous() for name, tensor in _network()[0].state_dict().items()}
    digest = weights._digest(tensors)
    text = path.read_bytes().decode("utf-8", "replace")
    save_file(tensors, path.with_suffix(".safetensors"), metadata={"medley": text, "sha256": digest})
    return _load(path.with_suffix(".safetensors"))


def _onnx(folder: Path) -> Path:
    from medley.models import export

    export.write(folder / "a.onnx", *_network())
    return folder / "a.onnx"


def _copied(name: str) -> Callable[[Path], Path]:
    return lambda folder: Path(shutil.copy(RECIPES / name, folder))


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return make


def _recipe(path: Path) -> Any:
    from medley.training.recipe import read_recipe

    return read_recipe(path)


def _override(path: Path) -> Any:
    from medley.training.recipe import read_recipe

    return read_recipe(RECIPES / "tiny-tat.yaml", [path.read_bytes().decode("utf-8", "replace")])


def _comparison(path: Path) -> Any:
    from medley.experiments.compare import read_comparison
    from medley.training.recipe import read_yaml

    return read_comparison(read_yaml(path), str(path))


def _table(path: Path) -> Any:
    from medley.data.layouts.tables import read_rows

    return read_rows(path, "name", ["unit"])


def _manifest(folder: Path) -> Path:
    made_store.make(folder / "store")
    return folder / "store" / "manifest.json"


def _store(path: Path) -> Any:
    from medley.data.store import Store

    return Store(path.parent)


def _scores(folder: Path) -> Path:
    from medley.scoring.rows import write_scores

    return write_scores(made_scores.restoration(cases=3), folder / "a.csv", header={"experiment": "fuzz"})


def _read_scores(path: Path) -> Any:
    from medley.scoring.rows import read_scores

    return read_scores(path)


def _checkpoint(folder: Path) -> Path:
    import torch

    from medley.training.checkpoint import Checkpoints

    state = {"recipe": {"steps": 3}, "step": 1, "network": {"a": torch.ones(3, 4)}, "random": torch.zeros(64)}
    Checkpoints(folder).save(state)
    return folder / "last.ckpt"


def _resume(path: Path) -> Any:
    from medley.training.checkpoint import Checkpoints

    return Checkpoints(path.parent).load()


OTHERS = {
    "weights": Seed(_weights, _load),
    "description of weights": Seed(_description, _described),
    "ONNX": Seed(_onnx, _load),
    "recipe": Seed(_copied("tiny-tat.yaml"), _recipe),
    "recipe of a predictor": Seed(_copied("ctan-openkbp.yaml"), _recipe),
    "comparison": Seed(_copied("compare-skin.yaml"), _comparison),
    "override": Seed(_text("set.txt", "optimizer.learning_rate=1e-3"), _override),
    "table": Seed(_text("a.csv", 'name,unit,note\na.nii,HU,1\n"b, c.nii",SUV,"2\n3"\n'), _table),
    "manifest": Seed(_manifest, _store),
    "scores": Seed(_scores, _read_scores),
    "checkpoint": Seed(_checkpoint, _resume),
}
