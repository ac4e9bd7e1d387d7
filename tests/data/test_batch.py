from medley.data.batch import batches, collate
from medley.data.readers import PatchReader
from medley.data.sampling import PatchSampler

TASKS = ("ct-denoise", "pet-denoise")


def test_batches_of_a_resumed_run_are_the_same(small_store):
    sampler = PatchSampler(small_store, TASKS, patches=10, seed=3)
    reader = PatchReader(small_store, 16)

    def make(step):
        return collate([reader(draw) for draw in sampler.draw(step)])

    whole = list(batches(make, 0, 4))
    rest = list(batches(make, 2, 4))
    assert len(whole) == 4
    assert len(rest) == 2
    for a, b in zip(whole[2:], rest, strict=True):
        assert a.input.equal(b.input)
        assert a.targets["image"].equal(b.targets["image"])
        assert a.tasks == b.tasks
    assert list(batches(make, 4, 4)) == []
    assert whole[0].input.shape == (10, 1, 16, 16)
