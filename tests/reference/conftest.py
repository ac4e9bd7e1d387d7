"""The original programs' weights, made again from the names in their state dicts, and their inputs and outputs."""

import json
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from medley.models.blocks import ResidualNetwork
from medley.models.convert import convert_original
from medley.models.zoo import create_model


@pytest.fixture(scope="session")
def original(shared: Path) -> Callable[[str], dict[str, Tensor]]:
    """name -> the state dict of the authors' program, float32, by the rule of the fixtures' README."""
    shapes = json.loads((shared / "fixtures" / "original_state_dict_keys.json").read_text())
    return lambda name: {key: _weight(key, shape) for key, shape in shapes[name].items()}


def _weight(name: str, shape: list[int]) -> Tensor:
    r = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("memory_hq_initialized"):
        return torch.from_numpy(r > 0)
    if name.endswith(("memory", "memory_hq")):
        pass
    elif name.endswith("task_embed"):
        r = 1 + 0.1 * r
    elif name.endswith("moe.mean"):
        r = np.zeros(shape)
    elif name.endswith("moe.std"):
        r = np.ones(shape)
    elif (".norm" in name and name.endswith("weight")) or name.endswith("temperature"):
        r = 1 + 0.1 * r
    elif name.endswith("bias"):
        r = 0.1 * r
    elif name.endswith(("lambda_dw", "gamma", "beta")):
        r = 0.5 * r
    elif name.endswith(("w_gate", "w_noise")):
        r = r / shape[0] ** 0.5
    elif name.endswith("dw_kernel"):
        r = r / 3
    elif not name.endswith("dictionary"):
        r = r / np.prod(shape[1:]) ** 0.5
    return torch.from_numpy(r.astype(np.float32))


@pytest.fixture(scope="session")
def network(original: Callable[[str], dict[str, Tensor]]) -> Callable[[str, torch.dtype], ResidualNetwork]:
    """(name, dtype) -> the full-size network with those weights, in evaluation mode; made once."""

    @cache
    def make(name: str, dtype: torch.dtype) -> ResidualNetwork:
        with torch.device("meta"):
            model = create_model(name)
        model.load_state_dict(convert_original(name, original(name)), assign=True)
        return model.to(dtype).eval()

    return make


@pytest.fixture(scope="session")
def reference(shared: Path) -> Callable[[str], dict[str, Tensor]]:
    """name -> the tensors of the original program."""
    return cache(lambda name: load_file(shared / "fixtures" / f"{name}_reference.safetensors"))
