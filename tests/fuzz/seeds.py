"""Small sound files of every kind that medley reads, and how each is read to its end."""

import gzip
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

import phantoms
import rt_phantoms
from medley.io.files import find_scans, open_scan, read, write
from medley.volume import Volume

AFFINE = np.diag([2.5, 0.8, 0.7, 1.0])


@dataclass(frozen=True)
class Seed:
    """A kind of file.

    Attributes
    ----------
    make: writes the seed into an empty folder and returns the file to damage.
    read: reads it, to its end; what it returns is checked if it is a volume.
    verified: what a flipped bit must not change because checksums protect it: nothing "", the "values" (the header is
        plain text), or the "volume" (everything).
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    verified: str = ""


def _volume() -> Volume:
    return Volume(phantoms.values((4, 10, 12), -1024, 1500).astype(np.float32), AFFINE, "CT", "HU")


def _scan(path: Path) -> Any:
    """As the commands do: find, open, iterate."""
    (scan,) = find_scans(path)
    return open_scan(scan).load()


def _series(path: Path) -> Any:
    volumes = [open_scan(scan).load() for scan in find_scans(path.parent)]
    return volumes[0]


def _classic(folder: Path) -> Path:
    return phantoms.write_ct_series(folder, (3, 12, 16))[1]


def _pet(folder: Path) -> Path:
    return phantoms.write_pet_series(folder, (3, 12, 16))[1]


def _enhanced(folder: Path) -> Path:
    return phantoms.write_enhanced(folder / "e.dcm", phantoms.values((4, 12, 16), 0, 900), "MR", slopes=[1, 2, 1, 2])


def _compressed(syntax: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import gdcm

        source = phantoms.write_mr_series(folder, (3, 12, 16))[1]
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(source))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(source))
        assert writer.Write()
        return source

    return make


def _deflated(folder: Path) -> Path:
    file = _classic(folder)
    dataset = dcmread(file)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file)
    return file


def _zip(folder: Path) -> Path:
    _classic(folder / "ct")
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((folder / "ct").iterdir()):
            archive.write(file, file.name)
            file.unlink()
    (folder / "ct").rmdir()
    return folder / "a.zip"


def _nifti(version: int, packed: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
        raw = kind(phantoms.values((12, 10, 4), 0, 900).astype(np.int16), AFFINE).to_bytes()
        path = folder / ("a.nii.gz" if packed else "a.nii")
        path.write_bytes(gzip.compress(raw, mtime=0) if packed else raw)
        return path

    return make


def _written(name: str) -> Callable[[Path], Path]:
    return lambda folder: write(_volume(), folder / name)


def _plain(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(phantoms.values((4, 10, 12), 0, 900).astype(np.int16))
        sitk.WriteImage(image, str(folder / name), useCompression=False)
        return folder / name

    return make


def _picture(name: str, mode: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pages = [Image.fromarray(one.astype(np.uint8)).convert(mode) for one in phantoms.values((3, 10, 12), 0, 255)]
        more = {"save_all": True, "append_images": pages[1:]} if name.endswith(".tif") else {}
        pages[0].save(folder / name, **more)
        return folder / name

    return make


def _planar(modality: str, frames: int) -> Callable[[Path], Path]:
    values = phantoms.values((frames, 10, 12), 0, 255)
    return lambda folder: phantoms.write_planar(folder / "a.dcm", values if frames > 1 else values[0], modality)


def _patient(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        rt_phantoms.write_patient(folder)
        return folder / name

    return make


def _read_structures(path: Path) -> Any:
    from medley.io.dicom.structures import read_structures

    structures = read_structures(path, read(path.parent / "CT"))
    return {name: structures[name] for name in structures}


def _read_dose(path: Path) -> Any:
    from medley.io.dicom.dose import read_dose

    dose = read_dose(path)
    return dose.with_data(np.asarray(dose.data))


def _segmentation(folder: Path) -> Path:
    """A SEG beside the scan that it was made on: reading the folder must give the scan."""
    from medley.io.dicom.segmentation import write_segmentation

    phantoms.write_ct_series(folder, (3, 12, 16))
    scan = open_scan(folder)
    write_segmentation({"liver": np.indices(scan.shape).sum(0) % 2 == 0}, folder / "seg.dcm", reference=scan)
    return folder / "seg.dcm"


def _names(folder: Path) -> Path:
    (folder / "structures.csv").write_text("name,structure,side\nProstate,Prostate,\nRectum,Rectum,\n")
    return folder / "structures.csv"


def _read_names(path: Path) -> Any:
    from medley.data.layouts.structure_names import read_structure_names

    return read_structure_names(path)


def _sidecar(folder: Path) -> Path:
    write(_volume(), folder / "a.nii.gz")
    (folder / "a.json").write_text(json.dumps({"Modality": "MR", "EchoTime": 0.08, "nested": [{"a": [1, 2]}]}))
    return folder / "a.json"


SCANS = {
    "classic CT": Seed(_classic, _series),
    "classic PET": Seed(_pet, _series),
    "enhanced MR": Seed(_enhanced, _scan),
    "JPEG-LS MR": Seed(_compressed(JPEGLSLossless), _series),
    "JPEG 2000 MR": Seed(_compressed(JPEG2000Lossless), _series),
    "JPEG MR": Seed(_compressed(JPEGLosslessSV1), _series),
    "RLE MR": Seed(_compressed(RLELossless), _series),
    "deflated CT": Seed(_deflated, _series),
    "RTSTRUCT": Seed(_patient("RS.dcm"), _read_structures),
    "RTDOSE": Seed(_patient("RD.dcm"), _read_dose),
    "SEG": Seed(_segmentation, _series),
    "structure names": Seed(_names, _read_names),
    "zip": Seed(_zip, _scan, "volume"),
    "NIfTI-1": Seed(_nifti(1, False), _scan),
    "NIfTI-2": Seed(_nifti(2, False), _scan),
    "NIfTI-1 gz": Seed(_nifti(1, True), _scan, "volume"),
    "NIfTI-2 gz": Seed(_nifti(2, True), _scan, "volume"),
    "NIfTI sidecar": Seed(_sidecar, lambda path: _scan(path.with_name("a.nii.gz"))),
    "MHA": Seed(_plain("a.mha"), _scan),
    "MHA compressed": Seed(_written("a.mha"), _scan, "values"),
    "NRRD": Seed(_plain("a.nrrd"), _scan),
    "NRRD compressed": Seed(_written("a.nrrd"), _scan, "values"),
    "radiograph": Seed(_planar("DX", 1), _scan),
    "ultrasound": Seed(_planar("US", 4), _scan),
    "PNG": Seed(_picture("a.png", "L"), _scan),
    "colour PNG": Seed(_picture("b.png", "RGB"), _scan),
    "TIFF": Seed(_picture("a.tif", "L"), _scan),
}


def _two_bytes(folder: Path) -> Path:
    (folder / "a").write_bytes(b"ab")
    return folder / "a"


def _fails(fault: str) -> Callable[[Path], Any]:
    """A reader that is right for the seed and shows a fault for every mutant."""

    def read(path: Path) -> Any:
        sound, data = Volume(np.zeros((1, 2, 2), np.float32), AFFINE), path.read_bytes()
        if data == b"ab":
            return sound
        if fault == "raw exception":
            raise KeyError("tag")
        if fault == "process death":
            os.abort()
        return sound.with_data(sound.data + 1) if fault == "changed" else sound.with_data(sound.data + np.inf)

    return read


# For the test of the harness itself.
SELF_TEST = {
    f"always: {fault}": Seed(_two_bytes, _fails(fault), "volume")
    for fault in ("raw exception", "absurd", "changed", "process death")
}
