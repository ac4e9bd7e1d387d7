import numpy as np
import pytest

from medley.data.layouts.stoic import records
from medley.data.prepare import prepare
from medley.errors import MedleyError

sitk = pytest.importorskip("SimpleITK")


def scan(path, values, *, spacing=(2.0, 2.0, 3.0), direction=None):
    """An .mha of HU, `values` along (slice from feet to head, row, column)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing(spacing)
    if direction:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path))


def chest(seed=0, shape=(6, 8, 8)):
    return np.random.default_rng(seed).integers(-1000, 500, shape)


@pytest.fixture
def source(tmp_path):
    for k in range(1, 5):
        scan(tmp_path / "stoic" / "data" / "mha" / f"{k}.mha", chest(k))
    table = tmp_path / "stoic" / "metadata" / "reference.csv"
    table.parent.mkdir()
    table.write_text("PatientID,probCOVID,probSevere\n1,0,0\n2,1,0\n3,1,1\n4,1.0,0.0\n")
    return tmp_path / "stoic"


def test_scans_become_cases(source, tmp_path):
    store = prepare("stoic", source, tmp_path / "store", size=4)
    task = store.prediction_task()
    assert task.grid == (4, 4, 4)
    assert task.spacing == pytest.approx((18 / 4, 16 / 4, 16 / 4))
    assert {case.id: case.labels for case in store.records()} == {
        "1": {"diagnosis": "negative"},  # severity is not asked of those without COVID-19
        "2": {"diagnosis": "COVID", "severity": "not severe"},
        "3": {"diagnosis": "COVID", "severity": "severe"},
        "4": {"diagnosis": "COVID", "severity": "not severe"},
    }
    image = store.array(store.records()[1], "input")[...]
    assert (image.shape, image.dtype) == ((1, 4, 4, 4), np.int16)
    rows = chest(2).reshape(6, 4, 2, 4, 2).mean((2, 4))[::-1]  # from head to feet
    slices = np.repeat(rows, 2, axis=0).reshape(4, 3, 4, 4).mean(1)  # 1.5 slices each
    np.testing.assert_allclose(image[0], slices, atol=0.51)
    assert store.records()[1].spacing == pytest.approx((4.5, 4, 4))


def test_a_scan_stored_along_other_axes_is_the_same_case(source, tmp_path):
    values = chest(9, (4, 6, 8))
    scan(source / "data" / "mha" / "1.mha", values, spacing=(2.0, 2.5, 3.0))
    # The same patient: the file's slices run to the left, its rows from head to feet, its columns to the front.
    turned = values[::-1].transpose(2, 0, 1)[:, :, ::-1]
    direction = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)  # columns, rows and slices of the file in LPS
    scan(source / "data" / "mha" / "2.mha", turned, spacing=(2.5, 3.0, 2.0), direction=direction.ravel().tolist())
    one, two = (case.read() for case in records(source, size=4)[1][:2])
    np.testing.assert_array_equal(one.arrays["input"], two.arrays["input"])
    assert two.spacing == pytest.approx(one.spacing)
    assert one.spacing == pytest.approx((12 / 4, 15 / 4, 16 / 4))


def test_values_no_scanner_gives_are_cut(source):
    scan(source / "data" / "mha" / "1.mha", np.full((4, 4, 4), -8000))
    scan(source / "data" / "mha" / "2.mha", np.full((4, 4, 4), 20_000))
    found = records(source, size=4)[1]
    assert [np.unique(one.read().arrays["input"]).tolist() for one in found[:2]] == [[-1024], [3071]]


def test_the_size_is_64_and_the_split_by_name(source):
    task, found = records(source)
    assert task.grid == (64, 64, 64)
    assert found[0].read().arrays["input"].shape == (1, 64, 64, 64)
    split = {one.id: one.split for one in found}
    assert set(split.values()) <= {"train", "valid"}
    (source / "data" / "mha" / "4.mha").unlink()
    (source / "metadata" / "reference.csv").write_text("PatientID,probCOVID,probSevere\n1,0,0\n2,1,0\n3,1,1\n")
    assert {one.id: one.split for one in records(source)[1]}.items() <= split.items()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("PatientID,probCOVID,probSevere\n77,1,1\n", r"names the patient 77, but there is no .*77\.mha"),
        ("PatientID,probCOVID,probSevere\n1,1,0\n2,maybe,0\n", "probCOVID of 2 is 'maybe', expected 0 or 1"),
        ("PatientID,probCOVID,probSevere\n1,0.5,0\n", "probCOVID of 1 is '0.5', expected 0 or 1"),
        ("PatientID,probCOVID\n1,1\n", "has no column probSevere"),
        ("PatientID,probCOVID,probSevere\n1,0,0\n2,1,0\n3,1,1\n", "4 has no target"),
    ],
)
def test_a_wrong_table_is_reported(source, tmp_path, table, message):
    (source / "metadata" / "reference.csv").write_text(table)
    with pytest.raises(MedleyError, match=message):
        prepare("stoic", source, tmp_path / "store", size=4)


def test_missing_or_damaged_files_are_reported(source, tmp_path):
    file = source / "data" / "mha" / "2.mha"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(MedleyError, match=r"2\.mha: has no DimSize"):
        prepare("stoic", source, tmp_path / "store", size=4)
    assert len(prepare("stoic", source, tmp_path / "other", size=4, exclude=["*/2.mha"]).records()) == 3
    (source / "metadata" / "reference.csv").unlink()
    with pytest.raises(MedleyError, match=r"holds no reference\.csv"):
        records(source)
    with pytest.raises(MedleyError, match=r"holds no \.mha scan"):
        records(tmp_path / "nowhere")
