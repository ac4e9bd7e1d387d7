"""What is read inside networks: shares are shares, reading changes no output, and known decisions are found."""

import numpy as np
import pytest
import torch

from medley.errors import MedleyError
from medley.experiments.internals import look_inside, watched
from medley.inference.loading import Loaded
from medley.models.weights import Description
from medley.models.zoo import create_model
from medley.scoring.scorers import some_slices

TASKS = ("mr-sr", "ct-denoise", "pet-denoise")
SMALL = {"dim": 4, "blocks": (1, 1, 1, 1), "heads": (1, 1, 2, 2), "refinement": 1, "expansion": 2.0}
NETWORKS = {
    "amir": {**SMALL, "atoms": 4, "dictionary_width": 8},
    "tat": {**SMALL, "generator_width": 2},
    "unih3": {**SMALL, "slots": 5, "tasks": TASKS},
    "slab": {"dim": 4, "blocks": (1, 1, 1, 1)},
}


def network(name, **config):
    """A small network whose parameters, also those that start at 0, are random."""
    torch.manual_seed(0)
    made = create_model(name, **{**NETWORKS[name], **config}).eval()
    with torch.no_grad():
        for one in made.parameters():
            one.add_(0.1 * torch.randn_like(one))
    return made


def loaded(name, **config):
    made = network(name, **config)
    return Loaded(made, Description(name, name, made.config, TASKS, {}, "0"), "")


@pytest.fixture(scope="module", params=NETWORKS)
def found(request, store):
    return request.param, look_inside(loaded(request.param), store, slices=2)


def test_every_validation_record_has_its_samples(found, store):
    _, inside = found
    records = [one for task in TASKS for one in store.records("valid", task)]
    expected = [(one.id, k) for one in records for k in some_slices(one.shape[0], 2)]
    assert [(one.record, one.slice) for one in inside.samples] == expected
    assert inside.embedding.shape == (len(inside.samples), 2)
    assert len({one.seen.vector.shape for one in inside.samples}) == 1
    assert 0 <= inside.between <= 1
    tasks, names, means = inside.means()
    assert tuple(tasks) == TASKS
    of_ct = [one.seen.numbers[names[0]] for one in inside.samples if one.task == "ct-denoise"]
    assert means[1, 0] == pytest.approx(np.mean(of_ct))


def test_shares_sum_to_one(found):
    name, inside = found
    if name not in ("amir", "unih3"):
        pytest.skip("this network has no shares")
    for one in inside.samples:
        groups = {}
        for title, share in one.seen.numbers.items():
            groups.setdefault(title.split(" expert")[0].split(" slots")[0], []).append(share)
        assert len(groups) == (3 if name == "amir" else 4)
        assert [sum(shares) for shares in groups.values()] == pytest.approx([1] * len(groups), abs=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_reading_does_not_change_the_output(name):
    made = network(name)
    inputs = made.example(1, 24, 32)
    with torch.inference_mode():
        before = made(*inputs)
        with watched(made) as (_, seen):
            assert torch.equal(made(*inputs), before)
            assert seen().vector.size
            assert not seen().vector.size  # each sample is read once
        made(*inputs)
        assert not seen().vector.size  # and nothing after the context


def test_the_expert_of_every_pixel_is_the_one_of_the_router():
    """Routers that look at the instruction only, with one expert that always wins."""
    made = network("amir")
    with torch.no_grad():
        for router in (made.spatial1, made.spatial2, made.spatial3):
            router.gate.zero_()
            router.instruct.weight.zero_()
            router.instruct.bias.fill_(1.0)
            router.gate[-1, 2], router.gate[-1, 1] = 2.0, 1.0
    with torch.inference_mode(), watched(made) as (_, seen):
        made(torch.rand(1, 1, 24, 32))
        now = seen()
    assert {name: one.shape for name, one in now.maps.items()} == {
        "spatial1": (24, 32), "spatial2": (12, 16), "spatial3": (6, 8)
    }  # fmt: skip
    assert all((one == 2).all() for one in now.maps.values())
    first = 1 / (1 + np.exp(-1))
    expected = {1: 0, 2: 1 - first, 3: first, 4: 0}
    for number, share in expected.items():
        assert now.numbers[f"spatial1 expert {number}"] == pytest.approx(share, abs=1e-5)


def test_without_strength_generated_kernels_have_no_part():
    made = network("tat")
    with torch.no_grad():
        for name, one in made.named_parameters():
            if name.endswith("strength"):
                one.zero_()
            if "latent" in name and name.endswith("strength"):
                one.fill_(0.5)
    with torch.inference_mode(), watched(made) as (_, seen):
        made(torch.rand(1, 1, 24, 32))
        numbers = seen().numbers
    assert numbers["latent generated / shared"] > 0
    assert [numbers[f"level{k} generated / shared"] for k in (1, 2, 3)] == [0, 0, 0]


def test_attention_between_targets_is_that_of_the_network():
    torch.manual_seed(0)
    targets = {"dose": ("pixel", 1), "outline": ("pixel", 2), "stage": ("image", 3)}
    made = create_model("ctan-tiny", targets=targets, width=4, widest=8, heads=2).eval()
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode(), watched(made) as (_, seen):
        made(image)
        read = seen()
        numbers = read.numbers
        assert read.attention.keys() == {f"{a} to {b}" for a in targets for b in targets if a != b}
        for one in read.attention.values():
            assert one.shape == (1, 1) if made.encoder.stride == 32 else (2, 2)
            assert one.mean() == pytest.approx(1)
        assert numbers["dose: attention to outline"] + numbers["dose: attention to stage"] == pytest.approx(1, abs=1e-5)
        assert 0 < numbers["stage: evenness"] <= 1 + 1e-6
        block = made.bottlenecks["dose"]
        own, others = torch.randn(1, 4, block.query.in_features), [torch.randn(1, 4, block.query.in_features)] * 2
        weights, added = block.attention(own, others)
        torch.testing.assert_close(weights.sum(dim=3), torch.ones(weights.shape[:3]))
        once = own + added
        torch.testing.assert_close(once + block.feed(once), block(own, others))


def test_the_memory_is_used_evenly_by_equal_prototypes():
    made = network("unih3")
    memory = made.memories[0]
    with torch.no_grad():
        memory.prototypes.copy_(memory.prototypes[:1, :1].clone())
    usage = memory.usage(torch.rand(2, 4, 6, 5))
    torch.testing.assert_close(usage, torch.full((2, 4, 5), 1 / 20))


def test_what_has_nothing_to_read_is_refused(store, case_store):
    with pytest.raises(MedleyError, match="is a Restormer; expected one of AMIR, TAT"):
        watched(create_model("restormer", **SMALL)).__enter__()
    with pytest.raises(MedleyError, match="is a TAT without the parts that depend on the task"):
        look_inside(loaded("tat", adaptive=False), store)
    with pytest.raises(MedleyError, match="has records of discs, but amir is for mr-sr"):
        look_inside(loaded("amir"), case_store)
    with pytest.raises(MedleyError, match=r"split 'test' of .* has no record for amir"):
        look_inside(loaded("amir"), store, split="test")
