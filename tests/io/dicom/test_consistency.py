"""Elements that must not change within a series: named with their values and files; what may vary is accepted."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medley.errors import MedleyError
from medley.io.files import open_scan


def elements(**values):
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def isotope(**values):
    return [elements(**{"RadionuclideTotalDose": 370e6, "RadionuclideHalfLife": 6588.0, **values})]


CHANGES = [
    ("CT", {"KVP": (120, 80)}),
    ("CT", {"ConvolutionKernel": ("STANDARD", "BONE")}),
    ("CT", {"AcquisitionNumber": (1, 2)}),
    ("CT", {"PatientID": ("ID-1", "ID-2")}),
    ("CT", {"StudyInstanceUID": ("1.2.3", "1.2.4")}),
    ("CT", {"FrameOfReferenceUID": ("1.2.3", "1.2.4")}),
    ("CT", {"PatientPosition": ("HFS", "FFS")}),
    ("CT", {"PhotometricInterpretation": ("MONOCHROME2", "MONOCHROME1")}),
    ("MR", {"EchoTime": (10.0, 80.0)}),
    ("MR", {"InversionTime": (100.0, 900.0)}),
    ("MR", {"FlipAngle": (15.0, 90.0)}),
    ("MR", {"DiffusionBValue": (0.0, 1000.0)}),
    ("MR", {"ImageType": (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])}),
    ("MR", {"EchoTime": (10.0, None)}),
    ("MR", {"RescaleType": ("US", "mm2/s")}),
    ("PT", {"Units": ("BQML", "CNTS")}),
    ("PT", {"PatientWeight": (70.0, 85.0)}),
    ("PT", {"DecayCorrection": ("START", "ADMIN")}),
    ("PT", {"CorrectedImage": (["DECY", "ATTN"], ["ATTN"])}),
    ("PT", {"SeriesTime": ("100000", "110000")}),
    ("PT", {"RadiopharmaceuticalInformationSequence": (isotope(), isotope(RadionuclideTotalDose=37e6))}),
    ("PT", {"RadiopharmaceuticalInformationSequence": (isotope(), isotope(RadionuclideHalfLife=1223.0))}),
]
WRITERS = {"CT": "write_ct_series", "MR": "write_mr_series", "PT": "write_pet_series"}


@pytest.mark.parametrize(("modality", "change"), CHANGES, ids=[f"{one}-{next(iter(two))}" for one, two in CHANGES])
@pytest.mark.parametrize("slices", [[1, 3], [4]], ids=["mixed", "last"])
def test_an_element_that_changes_within_a_series_is_named(tmp_path, phantoms, modality, change, slices):
    ((keyword, values),) = change.items()

    def apply(ds, k):
        value = values[int(k in slices)]
        if value is not None:
            setattr(ds, keyword, value)

    getattr(phantoms, WRITERS[modality])(tmp_path / "scan", change=apply)
    with pytest.raises(MedleyError, match=rf"scan: is not one scan: {keyword} is .* in {len(slices)} of 5 slices"):
        open_scan(tmp_path / "scan")


@pytest.mark.parametrize("keyword", ["EchoTime", "DiffusionBValue"])
def test_two_scans_at_the_same_position_are_reported_with_their_differences(tmp_path, phantoms, keyword):
    for which, value in enumerate((10.0, 80.0)):

        def change(ds, k, which=which, value=value):
            ds.SOPInstanceUID = generate_uid(entropy_srcs=[str(which), str(k)])
            setattr(ds, keyword, value)

        for file in phantoms.write_mr_series(tmp_path / str(which), change=change):
            (tmp_path / "scan").mkdir(exist_ok=True)
            file.rename(tmp_path / "scan" / f"{which}-{file.name}")
    words = rf"{keyword} is 10 in 5 of 10 slices \(0-001\.dcm\), 80 in 5 of 10 slices \(1-001\.dcm\)"
    with pytest.raises(MedleyError, match=words):
        open_scan(tmp_path / "scan")


def test_frames_of_an_enhanced_image_with_two_echo_times(tmp_path, phantoms):
    def change(ds):
        del ds.SharedFunctionalGroupsSequence[0].MREchoSequence
        for k, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
            groups.MREchoSequence = [elements(EffectiveEchoTime=10.0 if k < 3 else 80.0)]

    path = phantoms.write_enhanced(tmp_path / "e.dcm", phantoms.values((5, 12, 16), 0, 900), "MR", change=change)
    with pytest.raises(MedleyError, match=r"EffectiveEchoTime is 10 in 3 of 5 slices .*, 80 in 2 of 5 slices"):
        open_scan(path)


def test_what_may_vary_is_accepted(tmp_path, phantoms):
    def change(ds, k):
        ds.XRayTubeCurrent, ds.Exposure, ds.WindowCenter, ds.WindowWidth = 100 + k, 10 + k, 40 + k, 400 + k
        ds.AcquisitionTime, ds.ContentTime, ds.InstanceCreationTime = f"10000{k}", f"10010{k}", f"10020{k}"
        ds.KVP = 120 + 1e-3 * k  # rounding
        ds.ImageComments = f"slice {k}"

    phantoms.write_ct_series(tmp_path / "ct", change=change)
    np.testing.assert_array_equal(open_scan(tmp_path / "ct").load().data, phantoms.values((5, 12, 16), -1024, 1500))
