import numpy as np
import pytest

from medley.data.layouts.openkbp import MASKS, ORGANS, PTVS, REGION, OpenKbpPatient, halved, read_patient, records
from medley.data.prepare import prepare
from medley.data.store import Store
from medley.errors import MedleyError

VOXEL = (3.0, 2.0, 1.5)  # mm along the files' axes


def save(path, n=8, **changed):
    """A compact file of a patient with some of everything: organs, targets and dose in a box, the region around it."""
    rng = np.random.default_rng(len(path.stem))
    bits = np.zeros((n, n, n), np.uint16)
    for bit, name in enumerate(MASKS):
        if name not in ("Larynx", "PTV63"):
            low = bit % 3
            bits[low : low + 3, 1:5, 2:6] |= np.uint16(1 << bit)
    region = 1 << MASKS.index(REGION)
    bits[:7, :7, :7] |= np.uint16(region)
    arrays = {
        "ct": rng.integers(0, 2000, (n, n, n)).astype(np.int16),
        "dose": np.where(bits & region, rng.random((n, n, n)) * 70, 0).astype(np.float16),
        "masks": bits,
        "voxel_dimensions": np.array(VOXEL, np.float32),
        **changed,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    return arrays


def save_csv(folder, arrays):
    """The same patient as the challenge writes it."""
    folder.mkdir(parents=True)
    for name in ("ct", "dose"):
        flat = arrays[name].ravel()
        lines = [f"{index},{float(flat[index])!r}" for index in np.flatnonzero(flat)]
        (folder / f"{name}.csv").write_text("\n".join([",data", *lines]) + "\n")
    for bit, name in enumerate(MASKS):
        index = np.flatnonzero(arrays["masks"].ravel() >> bit & 1)
        if index.size:
            lines = [f"{one}," for one in index]
            file = folder / f"{'possible_dose_mask' if name == REGION else name}.csv"
            file.write_text("\n".join([",data", *lines]) + "\n")
    (folder / "voxel_dimensions.csv").write_text("\n".join(f"{mm:.18e}" for mm in VOXEL) + "\n")


@pytest.fixture
def source(tmp_path):
    for name in ("train/pt_1", "train/pt_10", "train/pt_2", "valid/pt_3"):
        save(tmp_path / "kbp" / f"{name}.npz")
    return tmp_path / "kbp"


def test_patients_become_cases_in_our_axes_and_units(source, tmp_path):
    store = prepare("openkbp", source, tmp_path / "store")
    task = store.prediction_task()
    assert task.grid == (8, 8, 8)
    assert task.spacing == (1.5, 3.0, 2.0)
    assert [(case.id, case.split) for case in store.records()] == [
        ("pt_1", "train"),
        ("pt_2", "train"),
        ("pt_10", "train"),
        ("pt_3", "valid"),
    ]
    raw = dict(np.load(source / "train" / "pt_10.npz"))
    [case] = [case for case in store.records() if case.id == "pt_10"]
    assert case.spacing == (1.5, 3.0, 2.0)
    assert {"dose", "possible_dose"} < set(case.checksums)
    names = task.target("segmentation").names
    assert case.drawn == {"segmentation": tuple(name for name in names if name not in ("Larynx", "PTV63"))}
    image, masks = store.array(case, "input")[...], store.array(case, "segmentation")[...]
    dose, region = store.array(case, "dose")[...], store.array(case, task.target("dose").within)[...]
    for front, right, head in [(0, 0, 0), (5, 1, 6), (2, 7, 3)]:  # the files' order; ours is slice, row, column
        assert image[0, head, front, right] == raw["ct"][front, right, head] - 1000
        assert dose[0, head, front, right] == raw["dose"][front, right, head]
        here = [name for k, name in enumerate(names) if masks[k, head, front, right]]
        bits = int(raw["masks"][front, right, head])
        assert here == [name for bit, name in enumerate(MASKS) if bits >> bit & 1 and name != REGION]
        assert region[0, head, front, right] == bits >> MASKS.index(REGION) & 1


def test_a_dose_in_thousandths_is_exact(tmp_path):
    exact = np.zeros((8, 8, 8), np.int32)
    exact[1, 2, 3] = 66_667
    save(tmp_path / "kbp" / "pt_1.npz", dose_mgy=exact)
    assert read_patient(tmp_path / "kbp" / "pt_1.npz", 8).dose[1, 2, 3] == 66.667


def test_the_challenges_tree_gives_what_the_compact_file_gives(tmp_path):
    arrays = save(tmp_path / "compact" / "train" / "pt_7.npz", n=128, ct=None, dose=None, masks=None)
    rng = np.random.default_rng(3)
    arrays = dict.fromkeys(("ct", "dose", "masks")) | {"voxel_dimensions": arrays["voxel_dimensions"]}
    arrays["ct"] = np.zeros((128,) * 3, np.int16)
    arrays["ct"][60:68, 50:58, 40:48] = rng.integers(0, 5000, (8, 8, 8))
    arrays["dose"] = np.zeros((128,) * 3, np.float16)
    arrays["dose"][60:68, 50:58, 40:48] = rng.random((8, 8, 8)) * 70
    arrays["masks"] = np.zeros((128,) * 3, np.uint16)
    arrays["masks"][60:68, 50:58, 40:48] = rng.integers(0, 1 << len(MASKS), (8, 8, 8)) & ~(1 << MASKS.index("Larynx"))
    save(tmp_path / "compact" / "train" / "pt_7.npz", **arrays)
    save_csv(tmp_path / "csv" / "train-pats" / "pt_7", arrays)
    compact = prepare("openkbp", tmp_path / "compact", tmp_path / "one", size=64)
    tree = prepare("openkbp", tmp_path / "csv", tmp_path / "two", size=64)
    assert tree.prediction_task() == compact.prediction_task()
    assert tree.prediction_task().grid == (64, 64, 64)
    [one], [two] = compact.records(), tree.records()
    assert two == one.model_copy(update={"source": "train-pats/pt_7"})
    assert two.spacing == (3.0, 6.0, 4.0)
    assert "Larynx" not in two.drawn["segmentation"]
    for name in ("input", "segmentation", "dose", REGION):
        np.testing.assert_array_equal(compact.array(one, name)[...], tree.array(two, name)[...])


def made(masks, ct=None):
    return OpenKbpPatient(np.zeros((4, 4, 4)) if ct is None else ct, None, masks, VOXEL)


def block(count, *, at=(0, 0, 0)):
    """A mask with `count` voxels of one 2 x 2 x 2 block."""
    mask = np.zeros((4, 4, 4), bool)
    for k in range(count):
        mask[2 * at[0] + k // 4, 2 * at[1] + k // 2 % 2, 2 * at[2] + k % 2] = True
    return mask


def test_halving_follows_the_majority():
    small = halved(made({"Brainstem": block(4) | block(3, at=(1, 1, 1)), REGION: block(1)}))
    assert np.argwhere(small.masks["Brainstem"]).tolist() == [[0, 0, 0]]
    assert small.masks[REGION].sum() == 1
    assert small.voxel == (6.0, 4.0, 3.0)


def test_an_organ_too_thin_for_any_block_is_kept():
    small = halved(made({"Larynx": block(3) | block(1, at=(1, 0, 1))}))
    assert np.argwhere(small.masks["Larynx"]).tolist() == [[0, 0, 0], [1, 0, 1]]


def test_targets_share_the_blocks_among_them():
    low = block(2) | block(8, at=(1, 0, 0)) | block(3, at=(1, 1, 1))
    high = (block(4) & ~block(2)) | (block(6, at=(0, 1, 0)) & ~block(1, at=(0, 1, 0)))
    small = halved(made({"PTV56": low, "PTV70": high}))
    # The first block holds two voxels of each: the smaller target gets it. Three voxels make no block.
    assert np.argwhere(small.masks["PTV56"]).tolist() == [[1, 0, 0]]
    assert np.argwhere(small.masks["PTV70"]).tolist() == [[0, 0, 0], [0, 1, 0]]
    lost = halved(made({"PTV63": block(3)}))
    assert lost.masks == {}


def test_metal_is_limited_before_it_is_averaged():
    ct = np.zeros((4, 4, 4))
    ct[0, 0, 0], ct[2, 2, 2] = 30_000, 20
    assert halved(made({}, ct)).ct[[0, 1], [0, 1], [0, 1]].tolist() == [round(4095 / 8), 2]  # 2.5 is rounded to 2


def test_halving_is_what_made_the_shared_half_size(shared):
    full = sorted((shared / "data" / "openkbp" / "full").glob("*/*.npz"))
    assert full
    for path in full[::2]:
        ours = halved(read_patient(path))
        theirs = read_patient(shared / "data" / "openkbp" / "half" / path.parent.name / path.name, 64)
        np.testing.assert_array_equal(ours.ct, theirs.ct)
        np.testing.assert_array_equal(ours.dose.astype(np.float16), theirs.dose)
        assert ours.masks.keys() == theirs.masks.keys()
        for name, mask in theirs.masks.items():
            np.testing.assert_array_equal(ours.masks[name], mask, name)
        np.testing.assert_allclose(ours.voxel, theirs.voxel)


def test_patients_without_folders_of_splits_are_split_by_name(tmp_path):
    for number in range(1, 41):
        save(tmp_path / f"pt_{number}.npz", n=2)
    _, found = records(tmp_path)
    split = {one.id: one.split for one in found}
    assert 2 <= list(split.values()).count("valid") <= 16
    for number in range(1, 21):
        (tmp_path / f"pt_{number}.npz").unlink()
    _, fewer = records(tmp_path)
    assert {one.id: one.split for one in fewer}.items() <= split.items()


def test_sizes(source, tmp_path):
    assert prepare("openkbp", source, tmp_path / "half", size=4).prediction_task().spacing == (3.0, 6.0, 4.0)
    with pytest.raises(MedleyError, match="have 8 voxels per side, which can become 4, but not 5"):
        prepare("openkbp", source, tmp_path / "store", size=5)


def test_a_run_that_was_cut_off_goes_on(source, tmp_path):
    def stop(done, total, name):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("openkbp", source, tmp_path / "store", progress=stop)
    assert len(Store(tmp_path / "store").records()) == 2
    kept = tmp_path / "store" / "records" / "pt_1" / "input" / "zarr.json"
    age = kept.stat().st_mtime_ns
    assert len(prepare("openkbp", source, tmp_path / "store").records()) == 4
    assert kept.stat().st_mtime_ns == age


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ct": None}, "pt_2.npz: has no array 'ct'"),
        ({"dose": np.zeros((4, 4, 4), np.float16)}, r"dose has shape \(4, 4, 4\), expected \(8, 8, 8\)"),
        ({"voxel_dimensions": np.array([1.0, 2.0])}, r"size of a voxel is \[1.0, 2.0\], expected three"),
        ({"masks": np.ones((8, 8, 8), np.uint16)}, "a dose but no possible-dose mask"),
        ({"masks": np.full((8, 8, 8), 1 << MASKS.index(REGION), np.uint16), "dose": None}, "pt_2 has no target"),
    ],
)
def test_a_wrong_file_is_named_and_can_be_left_out(source, tmp_path, changed, message):
    save(source / "train" / "pt_2.npz", **changed)
    with pytest.raises(MedleyError, match=message) as told:
        prepare("openkbp", source, tmp_path / "store")
    assert "pt_2" in str(told.value)
    assert len(prepare("openkbp", source, tmp_path / "other", exclude=["*/pt_2.npz"]).records()) == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing", b"no zip at all", b"\x93NUMPY"])
def test_a_broken_file_is_named(source, tmp_path, content):
    (source / "train" / "pt_1.npz").write_bytes(content)
    with pytest.raises(MedleyError, match=r"pt_1\.npz: cannot be read"):
        prepare("openkbp", source, tmp_path / "store")


def test_a_file_cut_short_is_named(source, tmp_path):
    file = source / "train" / "pt_1.npz"
    whole = bytearray(file.read_bytes())
    whole[200:400] = bytes(200)
    file.write_bytes(whole)
    with pytest.raises(MedleyError, match=r"pt_1\.npz: cannot be read"):
        prepare("openkbp", source, tmp_path / "store")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("ct.csv", ",data\n12,abc\n", "ct.csv: cannot be read"),
        ("ct.csv", ",data\n12\n", "ct.csv: cannot be read"),
        ("ct.csv", "", "ct.csv: cannot be read"),
        ("ct.csv", None, "ct.csv: cannot be read"),
        ("PTV70.csv", ",data\n2097152,\n", "names voxel 2097152, but 128 x 128 x 128"),
        ("dose.csv", ",data\n-3,1.0\n", "names voxel -3"),
        ("voxel_dimensions.csv", "3.0\n3.0\n", "expected three numbers"),
    ],
)
def test_a_broken_csv_is_named(tmp_path, file, content, message):
    folder = tmp_path / "kbp" / "train-pats" / "pt_1"
    tiny = {name: np.zeros((2, 2, 2), np.uint16) for name in ("ct", "dose", "masks")}
    save_csv(folder, tiny)
    (folder / file).unlink(missing_ok=True)
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(MedleyError, match=message):
        prepare("openkbp", tmp_path / "kbp", tmp_path / "store")


def test_data_that_cannot_be_prepared_is_reported(source, tmp_path):
    save(source / "test" / "pt_1.npz")
    with pytest.raises(MedleyError, match=r"subject pt_1 is in 't.*' and in 't.*'; a person belongs to one split"):
        prepare("openkbp", source, tmp_path / "store")
    with pytest.raises(MedleyError, match="holds no OpenKBP patient"):
        prepare("openkbp", tmp_path, tmp_path / "store")
    with pytest.raises(MedleyError, match="not a folder"):
        prepare("openkbp", tmp_path / "nowhere", tmp_path / "store")
    with pytest.raises(MedleyError, match="takes no table"):
        prepare("openkbp", source, tmp_path / "store", table="x.csv")
    with pytest.raises(MedleyError, match="not degraded"):
        prepare("openkbp", source, tmp_path / "store", degradations={"ct-denoise": {"dose": 0.5}})
    with pytest.raises(MedleyError, match="nothing to prepare that is not excluded"):
        prepare("openkbp", source, tmp_path / "store", exclude=["*"])
    assert not (tmp_path / "store").exists()


def test_one_patient_in_two_forms_is_refused(source, tmp_path):
    (source / "train" / "pt_1").mkdir()
    with pytest.raises(MedleyError, match=r"pt_1\.npz and train/pt_1 would both be stored as pt_1"):
        prepare("openkbp", source, tmp_path / "store")


def test_the_structures_are_the_challenges_ten(source):
    task, _ = records(source)
    segmentation = task.target("segmentation")
    assert segmentation.names == (*ORGANS, *PTVS)
    left, right = segmentation.names.index("LeftParotid"), segmentation.names.index("RightParotid")
    assert segmentation.mirrored[left] == right
    assert task.flips == (2,)  # columns run from the patient's right to left


@pytest.mark.parametrize(
    ("name", "value"),
    [("dose", np.nan), ("dose", np.inf), ("dose", -5), ("dose", 1e6), ("ct", np.nan), ("ct", -1), ("ct", 1e6)],
)
def test_values_that_no_plan_has_are_refused(tmp_path, name, value):
    path = tmp_path / "train" / "pt_1.npz"
    path.parent.mkdir()
    arrays = {
        "ct": np.full((8, 8, 8), 1000.0),
        "dose": np.ones((8, 8, 8)),
        "masks": np.full((8, 8, 8), 1 << 10, np.uint16),
    }
    arrays[name][1, 2, 3] = value
    np.savez(path, voxel_dimensions=np.array([3.0, 3.0, 3.0]), **arrays)
    with pytest.raises(MedleyError, match=rf"pt_1\.npz: {name} is .* in 1 voxels, expected 0 to"):
        read_patient(path, 8)


def test_a_voxel_listed_twice_is_refused(tmp_path):
    from medley.data.layouts.openkbp import _sparse

    path = tmp_path / "dose.csv"
    path.write_text(",data\n5,1.0\n7,2.0\n5,3.0\n")
    with pytest.raises(MedleyError, match=r"dose\.csv: lists voxel 5 twice"):
        _sparse(path, 8)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("ct", np.full((8, 8, 8), "a")),
        ("dose", np.ones((8, 8, 8), complex)),
        ("masks", np.ones((8, 8, 8))),
        ("voxel_dimensions", np.array(["3", "3", "3"])),
        ("voxel_dimensions", np.array([3.0, np.inf, 3.0])),
        ("voxel_dimensions", np.array([3.0, 1e9, 3.0])),
    ],
)
def test_wrong_types_and_voxel_sizes_are_refused(tmp_path, name, array):
    path = tmp_path / "pt_1.npz"
    shape = (8, 8, 8)
    arrays = {"ct": np.full(shape, 1000.0), "dose": np.ones(shape), "masks": np.full(shape, 1 << 10, np.uint16)}
    np.savez(path, **{**arrays, "voxel_dimensions": np.array([3.0, 3.0, 3.0]), name: array})
    with pytest.raises(MedleyError, match=rf"pt_1\.npz: ({name} has the type|the size of a voxel is)"):
        read_patient(path, 8)


def test_an_index_beyond_64_bits_is_refused(tmp_path):
    from medley.data.layouts.openkbp import _sparse

    path = tmp_path / "ct.csv"
    path.write_text(f",data\n{2**70},1.0\n")
    with pytest.raises(MedleyError, match=r"ct\.csv: cannot be read"):
        _sparse(path, 8)
