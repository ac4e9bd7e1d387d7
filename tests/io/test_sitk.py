"""MetaImage and NRRD: compared with SimpleITK."""

import sys

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.io.files import open_scan, read, write
from medley.volume import Volume


@pytest.fixture
def sitk():
    return pytest.importorskip("SimpleITK")


def oblique(phantoms):
    x, y = np.array(phantoms.OBLIQUE).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([np.cross(x, y) * 2.5, y * 0.8, x * 0.7], axis=1)
    affine[:3, 3] = [1, 2, 3]
    return affine


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".NRRD"])
def test_values_geometry_modality_and_unit_survive_a_round_trip(tmp_path, phantoms, sitk, suffix):
    volume = Volume(phantoms.values((5, 6, 7), -100, 900) * np.float32(0.37), oblique(phantoms), "MR", "a.u.")
    write(volume, tmp_path / f"a{suffix}", derivation="medley 0.1.0")
    again = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again.data, volume.data)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-9)
    assert (again.modality, again.unit) == ("MR", "a.u.")
    image = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
    left, back, up = image.TransformIndexToPhysicalPoint((3, 2, 1))
    np.testing.assert_allclose((volume.affine @ [1, 2, 3, 1])[:3], [-left, -back, up], atol=1e-9)
    assert image.GetMetaData("derivation") == "medley 0.1.0"


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f8"])
def test_integer_types_are_kept(tmp_path, phantoms, sitk, dtype):
    array = phantoms.values((5, 6, 7), 0, 200).astype(dtype)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.mha"))
    volume = read(tmp_path / "a.mha")
    assert (volume.modality, volume.unit) == ("", "")
    data = volume.data + np.float32(0.3)
    data[0, 0, 0] = 1e12
    write(volume.with_data(data), tmp_path / "b.mha")
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b.mha")))
    kind = np.dtype(dtype)
    assert again.dtype == (kind if kind.kind != "f" else np.float32)
    if kind.kind != "f":
        np.testing.assert_array_equal(again.ravel()[1:], array.ravel()[1:])
        assert again[0, 0, 0] == np.iinfo(kind).max


def test_several_volumes_nan_and_colours_are_refused(tmp_path, sitk):
    for name, array, word in (
        ("a.mha", np.zeros((2, 3, 4, 5), np.float32), "4 axes"),
        ("c.mha", np.full((3, 4, 5), np.nan, np.float32), "NaN"),
    ):
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(tmp_path / name))
        with pytest.raises(MedleyError, match=rf"{name}: .*{word}"):
            open_scan(tmp_path / name)
    colour = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "b.nrrd"))
    with pytest.raises(MedleyError, match=r"b\.nrrd: .*3 values for each voxel"):
        open_scan(tmp_path / "b.nrrd")
    (tmp_path / "d.nrrd").write_text("no picture")
    with pytest.raises(MedleyError, match=r"d\.nrrd: cannot be read"):
        open_scan(tmp_path / "d.nrrd")


def test_without_simpleitk_files_are_read_and_the_error_of_writing_says_what_to_install(tmp_path, sitk, monkeypatch):
    volume = Volume(np.ones((2, 3, 4), np.float32), np.eye(4))
    write(volume, tmp_path / "a.mha")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    np.testing.assert_array_equal(read(tmp_path / "a.mha").data, volume.data)
    with pytest.raises(MedleyError, match=r'pip install "\.\[formats\]"'):
        write(volume, tmp_path / "b.nrrd")


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_and_encoding_is_read_as_by_simpleitk(tmp_path, phantoms, sitk, suffix, compressed, dtype):
    image = sitk.GetImageFromArray(phantoms.values((3, 4, 5), 0, 100).astype(dtype))
    axes = oblique(phantoms)[:3, :3]
    image.SetSpacing(np.linalg.norm(axes, axis=0)[::-1].tolist())
    image.SetDirection((axes / np.linalg.norm(axes, axis=0))[:, ::-1].ravel().tolist())
    image.SetOrigin((-3.5, 4.25, 90))
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path), useCompression=compressed)
    volume = read(path)
    np.testing.assert_array_equal(volume.data, sitk.GetArrayFromImage(image))
    for index in ((0, 0, 0), (4, 0, 0), (0, 3, 0), (0, 0, 2)):
        left, back, up = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine @ [*index[::-1], 1])[:3], [-left, -back, up], atol=1e-9)
