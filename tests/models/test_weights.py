import json
import os
import random
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from medley.errors import MedleyError
from medley.models import weights
from medley.models.blocks import Trunk
from medley.models.weights import Description
from medley.models.zoo import NETWORKS, create_model


@pytest.fixture
def model() -> Trunk:
    torch.manual_seed(0)
    return create_model("tat", dim=8, blocks=(1, 1, 1, 1), refinement=1, generator_width=4)


@pytest.fixture
def description(model: Trunk) -> Description:
    return Description(
        name="tat-test",
        architecture="tat",
        config=model.config,
        tasks=("ct-denoise", "mr-sr"),
        training={"steps": 3, "psnr": {"ct-denoise": 41.5}},
        version="0.1.0",
    )


@pytest.fixture
def saved(tmp_path: Path, model: Trunk, description: Description) -> Path:
    path = tmp_path / "model.safetensors"
    weights.save(path, model, description)
    return path


def rewrite(path: Path, **changes: str) -> None:
    """The same tensors with other metadata."""
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata=metadata | changes)


def test_round_trip(saved, model, description):
    again, told = weights.load(saved)
    assert told == description == weights.describe(saved)
    assert not again.training
    image = torch.rand(1, 1, 16, 24)
    with torch.inference_mode():
        assert torch.equal(again(image), model.eval()(image))


def test_older_files_without_task_and_inputs(saved, description):
    with safe_open(saved, "np") as file:
        stated = json.loads(file.metadata()["medley"])
    rewrite(saved, medley=json.dumps({key: stated[key] for key in stated.keys() - {"task", "inputs"}}))
    assert weights.describe(saved) == description
    assert (description.task, description.inputs) == ({}, ())


def test_names_of_older_descriptions_are_read_as_those_of_today(saved):
    stated = json.loads(metadata_of(saved)["medley"])
    task = {"name": "made", "targets": []}
    del stated["task"]
    training = {"steps": 1, "validation_psnr": {"ct-denoise": 31.5}}
    rewrite(saved, medley=json.dumps({**stated, "problem": task, "training": training}))
    found = weights.describe(saved)
    assert found.task == task
    assert found.training["validation"] == {"ct-denoise psnr": 31.5}


def test_loaded_weights_can_be_trained_further(saved):
    again, _ = weights.load(saved)
    assert all(p.requires_grad and p.is_leaf for p in again.parameters())


def test_loading_draws_no_random_numbers(saved):
    before = torch.get_rng_state()
    weights.load(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_again_replaces_and_leaves_nothing_else(saved, model, description):
    with torch.no_grad():
        model.embed.weight.zero_()
    weights.save(saved, model, description)
    assert weights.load(saved)[0].embed.weight.abs().sum() == 0
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_failed_save_keeps_the_old_file(saved, model, description, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(MedleyError, match=r"could not be written: No space left"):
        weights.save(saved, model, description)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def fail(*arguments, **options):
    raise OSError(28, "No space left on device")


def test_a_changed_number_is_noticed(saved):
    content = bytearray(saved.read_bytes())
    content[-100] ^= 1
    saved.write_bytes(content)
    weights.describe(saved)  # the header is intact
    with pytest.raises(MedleyError, match="checksum"):
        weights.load(saved)


@pytest.mark.parametrize("kept", [0, 5, 2000, -1])
def test_a_file_cut_short(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    for read in (weights.load, weights.describe):
        with pytest.raises(MedleyError, match="not a complete safetensors file"):
            read(saved)


def test_a_file_that_is_something_else(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("a text of more than eight bytes")
    with pytest.raises(MedleyError, match="not a complete safetensors file"):
        weights.load(path)
    with pytest.raises(MedleyError, match="there is no file"):
        weights.load(tmp_path / "absent.safetensors")
    with pytest.raises(MedleyError, match="there is no file"):
        weights.describe(tmp_path)


def test_foreign_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(MedleyError, match="not written by medley"):
        weights.describe(path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"name": "x"}'])
def test_a_description_that_cannot_be_read(saved, text):
    rewrite(saved, medley=text)
    with pytest.raises(MedleyError, match="description that this medley cannot read"):
        weights.describe(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "unet"}, "needs the network unet, which this medley does not have"),
        ({"architecture": "restormer", "config": {}}, "do not match the stated restormer"),
        ({"config": {"dim": 16}}, "do not match the stated tat"),
        ({"config": {"depth": 3}}, "no argument 'depth'"),
    ],
)
def test_weights_of_another_network(saved, change, message):
    with safe_open(saved, "np") as file:
        stated = json.loads(file.metadata()["medley"])
    rewrite(saved, medley=json.dumps(stated | change))
    with pytest.raises(MedleyError, match=message):
        weights.load(saved)


def test_packaged_weights_describe_themselves():
    for name, path in weights.packaged().items():
        assert weights.describe(path).name == name


WRONG = [
    None,
    1,
    -1,
    1e30,
    10**30,
    float("nan"),
    "text",
    "",
    [],
    [1],
    ["x", 3],
    {},
    {"x": None},
    True,
    "../x",
    "/etc/x",
]


@pytest.mark.parametrize("field", ["name", "architecture", "config", "tasks", "training", "version", "task", "inputs"])
@pytest.mark.parametrize("value", WRONG, ids=str)
def test_a_field_of_a_wrong_type_is_refused_or_harmless(saved, field, value):
    stated = json.loads(metadata_of(saved)["medley"])
    rewrite(saved, medley=json.dumps(stated | {field: value}))
    kind = {"tasks": list, "inputs": list, "name": str, "architecture": str, "version": str}.get(field, dict)
    refused_texts = {"name": ("", "../x", "/etc/x"), "architecture": ("text", "", "../x", "/etc/x")}.get(field, ())
    harmless = type(value) is kind and value not in ([1], ["x", 3], *refused_texts) and field != "config"
    if harmless:
        found = getattr(weights.load(saved)[1], field)
        assert found == (tuple(value) if kind is list else value)
    else:
        with pytest.raises(MedleyError) as refused:
            weights.load(saved)
        assert str(refused.value).startswith(str(saved))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [*WRONG, 0, 2**16, 3.5, -8, [2**40] * 4, [[1]], {"a": [1e308]}], ids=str)
@pytest.mark.parametrize("key", ["dim", "blocks", "refinement", "heads", "expansion", "window", "generator_width"])
def test_a_configuration_with_wrong_values_is_refused_quickly(saved, key, value):
    stated = json.loads(metadata_of(saved)["medley"])
    stated["config"][key] = value
    rewrite(saved, medley=json.dumps(stated))
    harmless = (key == "refinement" and value in (1, True)) or (key == "window" and value in (None, 2**16))
    if not harmless:
        with pytest.raises(MedleyError, match="do not match the stated tat"):
            weights.load(saved)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "..", "", "a/b", "C:x", "x\n"])
def test_names_that_would_become_paths_are_refused(saved, name):
    stated = json.loads(metadata_of(saved)["medley"])
    changes = [{"tasks": [name]}, {"name": name}, {"inputs": [name]}]
    for kind in ("map", "structures"):
        changes.append({"task": {"targets": [{"name": name, "kind": kind}]}})
        changes.append({"task": {"targets": [{"name": "one", "kind": kind, "names": [name]}]}})
    for change in changes:
        rewrite(saved, medley=json.dumps(stated | change))
        with pytest.raises(MedleyError, match="cannot be used as a file name"):
            weights.describe(saved)


def test_a_description_nested_too_deeply_is_refused(saved):
    rewrite(saved, medley="[" * 100_000)
    with pytest.raises(MedleyError, match="description that this medley cannot read"):
        weights.describe(saved)


def test_absolute_paths_are_not_stored(saved, model, description):
    training = {"recipe": {"store": "/data/people/store", "list": ["C:\\Users\\me\\x", "stores/a"]}}
    weights.save(saved, model, replace(description, training=training))
    assert weights.describe(saved).training == {"recipe": {"store": "store", "list": ["x", "stores/a"]}}


def test_the_umask_decides_who_may_read(saved, model, description):
    before = os.umask(0o077)
    try:
        weights.save(saved, model, description)
    finally:
        os.umask(before)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600


def test_a_flipped_bit_changes_no_number(saved, description):
    content = saved.read_bytes()
    rng = random.Random(0)
    for _ in range(100):
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        saved.write_bytes(changed)
        try:
            _, told = weights.load(saved)
        except MedleyError:
            continue
        assert told != description  # the checksum is of the tensors only; a letter of the description may differ


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as file:
        return file.metadata()


def test_half_precision_takes_half_the_space_and_is_loaded_as_float32(tmp_path):
    torch.manual_seed(0)
    model = create_model("slab", dim=8)
    description = Description("w", "slab", model.config, ("ct-denoise",), {}, "0")
    for half in (False, True):
        weights.save(tmp_path / f"{half}.safetensors", model, description, half=half)
    sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (False, True)]
    assert sizes[1] < 0.6 * sizes[0]
    loaded, same = weights.load(tmp_path / "True.safetensors")
    assert same == description
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-3, atol=1e-7)


def test_vectors_keep_their_precision(tmp_path):
    model = create_model("stl-tiny", targets={"dose": ("pixel", 1)}, dimension=2, channels=1)
    variance = next(one for name, one in model.named_buffers() if name.endswith("running_var"))
    variance.fill_(2e6)
    description = Description("w", "stl-tiny", model.config, ("dose",), {}, "0")
    weights.save(tmp_path / "w.safetensors", model, description, half=True)
    loaded, _ = weights.load(tmp_path / "w.safetensors")
    for name, tensor in loaded.state_dict().items():
        if tensor.ndim < 2:
            torch.testing.assert_close(tensor, model.state_dict()[name], rtol=0, atol=0)


def test_a_weight_that_half_precision_cannot_hold_is_refused(tmp_path):
    model = create_model("slab", dim=8)
    model.output.weight.data[0] = 1e6
    description = Description("w", "slab", model.config, ("ct-denoise",), {}, "0")
    with pytest.raises(MedleyError, match=r"output.weight has values up to 1e"):
        weights.save(tmp_path / "w.safetensors", model, description, half=True)
    assert not list(tmp_path.iterdir())


class Hidden(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.register_buffer("table", torch.ones(2), persistent=False)


def test_a_tensor_that_is_not_stored_is_named(tmp_path, description, forget):
    NETWORKS.register("hidden", Hidden)
    path = tmp_path / "hidden.safetensors"
    weights.save(path, create_model("hidden"), replace(description, architecture="hidden", config={}))
    with pytest.raises(MedleyError, match="table is not stored; register it as a persistent buffer"):
        weights.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "own"}, "needs the network own of a plugin, and was trained with a.py, b.py: name it with"),
        ({"tasks": ("ct-own",)}, "needs the task ct-own of a plugin, and was trained with a.py, b.py"),
    ],
)
def test_weights_that_need_a_plugin_say_so(tmp_path, model, description, changes, message):
    path = tmp_path / "own.safetensors"
    training = {"recipe": {"plugins": ["a.py#12345678", "b.py#00000000"]}}
    weights.save(path, model, replace(description, training=training))
    weights.load(path)  # only what is missing matters
    weights.save(path, model, replace(description, training=training, **changes))
    with pytest.raises(MedleyError, match=message):
        weights.load(path)
