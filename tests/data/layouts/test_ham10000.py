import numpy as np
import pytest
from PIL import Image

from medley.data.layouts.ham10000 import records
from medley.data.prepare import prepare
from medley.errors import MedleyError


def photograph(path, colour=(200, 120, 90), size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, quality=95)


def outline(path, box=(10, 5, 30, 20), size=(40, 30)):
    """A mask with a box (left, upper, right, lower) of lesion."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size)
    mask.paste(255, box)
    mask.convert("1").save(path)


@pytest.fixture
def source(tmp_path):
    """HAM10000 as it is handed out, four images of three lesions."""
    folder = tmp_path / "ham"
    for k, name in enumerate(["ISIC_1", "ISIC_2", "ISIC_3", "ISIC_4"]):
        photograph(folder / f"HAM10000_images_part_{1 + k % 2}" / f"{name}.jpg", (200, 120 + k, 90))
        outline(folder / "HAM10000_segmentations_lesion_tschandl" / f"{name}_segmentation.png")
    (folder / "HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx,dx_type,age\n"
        "HAM_7,ISIC_1,nv,histo,50\nHAM_7,ISIC_2,nv,histo,50\nHAM_8,ISIC_3,bkl,histo,\nHAM_9,ISIC_4,mel,histo,60\n"
    )
    return folder


def test_photographs_become_cases(source, tmp_path):
    store = prepare("ham10000", source, tmp_path / "store", size=20)
    task = store.prediction_task()
    assert task.grid == (20, 20)
    assert task.channels == ("red", "green", "blue")
    assert task.target("diagnosis").names == ("bkl", "mel", "nv")
    assert {case.id: case.labels for case in store.records()} == {
        "ISIC_1": {"diagnosis": "nv"},
        "ISIC_2": {"diagnosis": "nv"},
        "ISIC_3": {"diagnosis": "bkl"},
        "ISIC_4": {"diagnosis": "mel"},
    }
    [case] = [case for case in store.records() if case.id == "ISIC_4"]
    image, mask = store.array(case, "input")[...], store.array(case, "segmentation")[...]
    assert (image.shape, image.dtype) == ((3, 20, 20), np.uint8)
    np.testing.assert_allclose(image.mean((1, 2)), (200, 123, 90), atol=2)
    share = np.zeros((30, 40))
    share[5:20, 10:30] = 1
    share = np.repeat(np.repeat(share, 2, axis=0), 1, axis=1).reshape(20, 3, 20, 2).mean((1, 3))  # 1.5 x 2 pixels each
    np.testing.assert_array_equal(mask[0], share >= 0.5)
    assert set(np.unique(mask)) == {0, 1}


def test_a_photograph_lies_as_its_camera_says(source):
    path = source / "HAM10000_images_part_1" / "ISIC_1.jpg"
    turned = Image.new("RGB", (30, 40), "black")
    turned.paste("white", (0, 0, 30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of what was seen is at the right
    turned.save(path, quality=95, exif=exif)
    case = next(one for one in records(source, size=20)[1] if one.id == "ISIC_1").read()
    left, right = np.split(case.arrays["input"].astype(float), 2, axis=2)
    assert right.mean() > 250
    assert left.mean() < 5


def test_photographs_of_one_lesion_stay_together(source):
    _, found = records(source)
    assert {one.id: one.subject for one in found} == {
        "ISIC_1": "HAM_7",
        "ISIC_2": "HAM_7",
        "ISIC_3": "HAM_8",
        "ISIC_4": "HAM_9",
    }
    assert len({one.split for one in found if one.subject == "HAM_7"}) == 1


def test_the_form_of_isic_2017_here(tmp_path):
    folder = tmp_path / "skin"
    for split, name in [("train", "a"), ("train", "b"), ("valid", "c")]:
        photograph(folder / split / "images" / f"{name}.jpg")
        outline(folder / split / "masks" / f"{name}.png")
    table = "image_id,split,diagnosis\na,train,seborrheic_keratosis\nb,train,nevus\nc,valid,melanoma\n"
    (folder / "labels.csv").write_text(table)
    store = prepare("ham10000", folder, tmp_path / "store")
    assert store.prediction_task().target("diagnosis").names == ("nevus", "melanoma", "seborrheic_keratosis")
    assert store.prediction_task().grid == (96, 96)
    assert [(case.id, case.split, case.source) for case in store.records()] == [
        ("a", "train", "train/images/a.jpg"),
        ("b", "train", "train/images/b.jpg"),
        ("c", "valid", "valid/images/c.jpg"),
    ]
    (folder / "labels.csv").write_text("image_id,diagnosis\na,nevus\nb,nevus\nc,melanoma\n")
    assert [one.split for one in records(folder)[1]] == ["train", "train", "valid"]  # the folders tell


def test_partial_labels_are_kept_as_such(source, tmp_path):
    masks = source / "HAM10000_segmentations_lesion_tschandl"
    (masks / "ISIC_1_segmentation.png").unlink()
    outline(masks / "ISIC_2_segmentation.png", box=(0, 0, 0, 0))  # black: nobody found the lesion
    table = "image_id,dx\nISIC_1,nv\nISIC_2,mel\nISIC_3,\n"  # ISIC_4 has no line
    (source / "HAM10000_metadata.csv").write_text(table)
    store = prepare("ham10000", source, tmp_path / "store")
    assert {case.id: (case.drawn, case.labels) for case in store.records()} == {
        "ISIC_1": ({}, {"diagnosis": "nv"}),
        "ISIC_2": ({}, {"diagnosis": "mel"}),
        "ISIC_3": ({"segmentation": ("lesion",)}, {}),
        "ISIC_4": ({"segmentation": ("lesion",)}, {}),
    }
    with pytest.raises(MedleyError, match="ISIC_1 has no segmentation"):
        store.array(store.records()[0], "segmentation")


def test_a_table_elsewhere_and_none_at_all(source, tmp_path):
    (source / "HAM10000_metadata.csv").rename(tmp_path / "mine.csv")
    task, found = records(source)
    assert [target.name for target in task.targets] == ["segmentation"]
    assert [one.subject for one in found] == [one.id for one in found]
    task, _ = records(source, table=tmp_path / "mine.csv")
    assert [target.name for target in task.targets] == ["segmentation", "diagnosis"]


def test_a_case_without_any_target_is_named(source, tmp_path):
    (source / "HAM10000_metadata.csv").write_text("image_id,dx\nISIC_1,nv\nISIC_2,nv\nISIC_3,nv\n")
    (source / "HAM10000_segmentations_lesion_tschandl" / "ISIC_4_segmentation.png").unlink()
    with pytest.raises(MedleyError, match="ISIC_4 has no target, expected at least one of segmentation, diagnosis"):
        prepare("ham10000", source, tmp_path / "store")
    assert len(prepare("ham10000", source, tmp_path / "other", exclude=["*ISIC_4*"]).records()) == 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image_id,dx\nISIC_1,nv\nISIC_99,mel\n", "names the image ISIC_99, which is not below"),
        ("image,dx\nISIC_1,nv\n", "has no column image_id"),
        ("image_id,melanoma\nISIC_1,1\n", "has no column diagnosis or dx"),
        ("image_id,dx\nISIC_1,nv\nISIC_1,mel\n", "line 3: ISIC_1 is listed twice"),
        ("image_id,dx,split\nISIC_1,nv,holdout\n", "ISIC_1.jpg is in split 'holdout', expected one of train"),
        ("image_id,dx,lesion_id,split\nISIC_1,nv,L,train\nISIC_2,nv,L,test\n", "subject L is in 'train' and in 'test'"),
        ("image_id,dx\nISIC_1,n\0vus\n".encode("latin-1"), "cannot be read as a CSV table"),
    ],
)
def test_a_wrong_table_is_reported(source, tmp_path, table, message):
    (source / "HAM10000_metadata.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises(MedleyError, match=message):
        prepare("ham10000", source, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_wrong_pictures_are_named(source, tmp_path):
    masks = source / "HAM10000_segmentations_lesion_tschandl"
    outline(masks / "ISIC_2_segmentation.png", size=(30, 40))
    with pytest.raises(MedleyError, match=r"ISIC_2_segmentation.png: has 40 x 30 pixels, but .*ISIC_2.jpg has 30 x 40"):
        prepare("ham10000", source, tmp_path / "store")
    photo = source / "HAM10000_images_part_1" / "ISIC_1.jpg"
    photo.write_bytes(photo.read_bytes()[:300])
    with pytest.raises(MedleyError, match=r"ISIC_1.jpg: cannot be read as a picture"):
        prepare("ham10000", source, tmp_path / "other")


def test_names_that_do_not_match_are_reported(source, tmp_path):
    outline(source / "masks" / "ISIC_88.png")
    with pytest.raises(MedleyError, match=r"ISIC_88.png: is the mask of no image"):
        records(source)
    (source / "masks" / "ISIC_88.png").unlink()
    photograph(source / "more" / "ISIC_1.jpg")
    with pytest.raises(MedleyError, match=r"ISIC_1.jpg .* have one name"):
        records(source)
    with pytest.raises(MedleyError, match="holds no photograph"):
        records(source / "masks")
    with pytest.raises(MedleyError, match="not a folder"):
        records(tmp_path / "nowhere")
