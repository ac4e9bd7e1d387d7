"""SUV by the book, or refused with the tag that is missing or wrong."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medley.errors import MedleyError
from medley.io.dicom.suv import acquisition_time, suv_factor
from medley.io.files import open_scan, read


def header(**changes):
    """As the whole-body PET of STS_001 (its numbers are in the real series too)."""
    isotope = Dataset()
    isotope.RadionuclideTotalDose = 388777472
    isotope.RadionuclideHalfLife = 6588
    isotope.RadiopharmaceuticalStartTime = "103500.00"
    ds = Dataset()
    ds.Units, ds.DecayCorrection, ds.CorrectedImage, ds.PatientWeight = "BQML", "START", ["DECY", "ATTN"], 71.0
    ds.SeriesDate, ds.SeriesTime = "20000101", "112011.00"
    ds.AcquisitionDate, ds.AcquisitionTime = "20000101", "112011.00"
    ds.RadiopharmaceuticalInformationSequence = [isotope]
    for keyword, value in changes.items():
        where = isotope if keyword.startswith("Radio") and not keyword.endswith("Sequence") else ds
        if value is None:
            delattr(where, keyword)
        else:
            setattr(where, keyword, value)
    return ds


def factor(**changes):
    ds = header(**changes)
    return suv_factor(ds.get, [acquisition_time(ds.get)], "scan")


def after(seconds):
    """The factor when the injection was so long before the reference time."""
    return 71000 / (388777472 * 2 ** (-seconds / 6588))


def test_the_constant_of_a_real_scan():
    assert factor() == pytest.approx(0.000242902977, rel=1e-8)
    assert factor() == pytest.approx(after(2711))


def test_decay_is_counted_to_the_series_unless_that_is_later_than_the_acquisition():
    assert factor(AcquisitionTime="113000") == pytest.approx(after(2711))
    assert factor(SeriesTime="150000") == pytest.approx(after(2711))


def test_the_earliest_acquisition_counts():
    ds = header(SeriesTime="150000")
    early, late = header(AcquisitionTime="111011"), header(AcquisitionTime="112511")
    times = [acquisition_time(one.get) for one in (late, early)]
    assert suv_factor(ds.get, times, "scan") == pytest.approx(after(2711 - 600))


def test_values_corrected_to_the_injection_need_no_times():
    assert factor(DecayCorrection="ADMIN") == pytest.approx(71000 / 388777472)
    assert factor(DecayCorrection="ADMIN", SeriesTime=None, RadiopharmaceuticalStartTime=None) == pytest.approx(
        after(0)
    )


def test_the_full_start_time_counts_before_the_time_of_day():
    assert factor(RadiopharmaceuticalStartDateTime="20000101102011") == pytest.approx(after(3600))
    assert factor(RadiopharmaceuticalStartDateTime="20000101102011.50+0100") == pytest.approx(after(3599.5))


def test_an_injection_before_midnight():
    changed = {"SeriesTime": "003000", "AcquisitionTime": "003000", "RadiopharmaceuticalStartTime": "233000"}
    assert factor(**changed) == pytest.approx(after(3600))


def test_values_that_are_suv_already():
    assert factor(Units="GML", SUVType="BW", PatientWeight=None) == 1
    assert factor(Units="GML", DecayCorrection=None) == 1


@pytest.mark.parametrize(
    "keyword",
    [
        "PatientWeight",
        "SeriesTime",
        "SeriesDate",
        "CorrectedImage",
        "DecayCorrection",
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "RadiopharmaceuticalStartTime",
        "RadiopharmaceuticalInformationSequence",
    ],
)
def test_a_missing_tag_is_named(keyword):
    with pytest.raises(MedleyError, match=rf"scan: .*{keyword}.*missing.*no SUV"):
        factor(**{keyword: None})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"Units": "CNTS"}, "Units is 'CNTS'"),
        ({"Units": None}, "Units is"),
        ({"Units": "GML", "SUVType": "LBM"}, "SUVType is 'LBM'"),
        ({"DecayCorrection": "NONE"}, "DecayCorrection is 'NONE'"),
        ({"CorrectedImage": ["ATTN"]}, "without DECY"),
        ({"CorrectedImage": "DECY"}, "without ATTN"),
        ({"PatientWeight": 0}, "PatientWeight is 0"),
        ({"RadionuclideTotalDose": 388.8}, "RadionuclideTotalDose is 388.8"),
        ({"RadionuclideHalfLife": 0}, "RadionuclideHalfLife is 0"),
        ({"RadiopharmaceuticalStartDateTime": "20000101120000"}, "cannot be"),
        ({"RadiopharmaceuticalStartDateTime": "19990101103500"}, "cannot be"),
        ({"RadiopharmaceuticalInformationSequence": [Dataset(), Dataset()]}, "2 items"),
    ],
)
def test_what_gives_no_suv_is_refused(changes, word):
    with pytest.raises(MedleyError, match=word):
        factor(**changes)


def test_a_pet_series_is_read_in_suv_with_the_slope_of_every_slice(tmp_path, phantoms):
    phantoms.write_pet_series(tmp_path / "pet")
    volume = read(tmp_path / "pet")
    slopes = np.array([0.4, 0.7, 1.0, 1.3, 1.6]).reshape(5, 1, 1)
    expected = phantoms.values((5, 12, 16), 0, 30000) * slopes * phantoms.SUV_FACTOR
    np.testing.assert_allclose(volume.data, expected, rtol=1e-6)
    assert (volume.modality, volume.unit) == ("PT", "SUV")


def test_a_pet_series_without_the_tags_is_refused_when_opened(tmp_path, phantoms):
    def drop(ds, k):
        del ds.PatientWeight

    phantoms.write_pet_series(tmp_path / "pet", change=drop)
    with pytest.raises(MedleyError, match=r"pet: PatientWeight is missing; without it there is no SUV"):
        open_scan(tmp_path / "pet")


def test_enhanced_pet_says_it_in_tags_of_its_own(tmp_path, phantoms):
    def tags(ds):
        phantoms.add_suv_tags(ds)
        for keyword in ("Units", "CorrectedImage", "DecayCorrection", "SeriesType", "CountsSource"):
            delattr(ds, keyword)
        ds.DecayCorrected = ds.AttenuationCorrected = "YES"
        ds.DecayCorrectionDateTime = "20240102100000"
        unit = Dataset()
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "Bq/ml", "UCUM", "Becquerels/milliliter"
        mapping = Dataset()
        mapping.MeasurementUnitsCodeSequence = [unit]
        ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]

    stored = phantoms.values((4, 12, 16), 0, 30000)
    slopes = [0.5, 1.5, 2.5, 3.5]
    path = phantoms.write_enhanced(tmp_path / "pet.dcm", stored, "PT", slopes=slopes, change=tags)
    expected = stored * np.array(slopes).reshape(4, 1, 1) * phantoms.SUV_FACTOR
    np.testing.assert_allclose(read(path).data, expected, rtol=1e-6)

    def uncorrected(ds):
        tags(ds)
        ds.DecayCorrected = "NO"

    path = phantoms.write_enhanced(tmp_path / "no.dcm", stored, "PT", slopes=slopes, change=uncorrected)
    with pytest.raises(MedleyError, match="DecayCorrected is 'NO'"):
        open_scan(path)
