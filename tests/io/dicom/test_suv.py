"""SUV by the rules of QIBA, or a refusal that names the missing or wrong element."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medley.errors import MedleyError
from medley.io.dicom.consistency import constants
from medley.io.dicom.suv import acquisition, suv_factor
from medley.io.files import open_scan, read


def header(**changes):
    """As the whole-body PET of STS_001 (its numbers are in the real series too)."""
    isotope = Dataset()
    isotope.RadionuclideTotalDose = 388777472
    isotope.RadionuclideHalfLife = 6588
    isotope.RadiopharmaceuticalStartTime = "103500.00"
    ds = Dataset()
    ds.Modality = "PT"
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
    return suv_factor(constants(ds.get).get, [one for one in [acquisition(ds.get, "slice")] if one], "scan")


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
    times = [acquisition(one.get, "slice") for one in (late, early)]
    assert suv_factor(constants(ds.get).get, times, "scan") == pytest.approx(after(2711 - 600))


def test_values_corrected_to_the_injection_need_no_times():
    assert factor(DecayCorrection="ADMIN") == pytest.approx(71000 / 388777472)
    assert factor(DecayCorrection="ADMIN", SeriesTime=None, RadiopharmaceuticalStartTime=None) == pytest.approx(
        after(0)
    )


def test_the_full_start_time_counts_before_the_time_of_day():
    assert factor(RadiopharmaceuticalStartDateTime="20000101102011") == pytest.approx(after(3600))
    assert factor(RadiopharmaceuticalStartDateTime="20000101102011.50") == pytest.approx(after(3599.5))


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


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        # 10:20:11 +0200 is 09:20:11 +0100, two hours before a scan at 11:20:11 +0100.
        ({"TimezoneOffsetFromUTC": "+0100", "RadiopharmaceuticalStartDateTime": "20000101102011+0200"}, 7200),
        ({"TimezoneOffsetFromUTC": "-0500", "RadiopharmaceuticalStartDateTime": "20000101152011+0000"}, 3600),
        ({"TimezoneOffsetFromUTC": "+0530", "RadiopharmaceuticalStartDateTime": "20000101102011"}, 3600),
        ({"TimezoneOffsetFromUTC": "+0100"}, 2711),
        (
            {
                "TimezoneOffsetFromUTC": "+0100",
                "SeriesTime": "150000",
                "AcquisitionDateTime": "20000101102011+0000",
                "RadiopharmaceuticalStartDateTime": "20000101102011",
            },
            3600,
        ),
    ],
)
def test_offsets_from_utc_count(changes, seconds):
    assert factor(**changes) == pytest.approx(after(seconds))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"RadiopharmaceuticalStartDateTime": "20000101102011+0100"}, "RadiopharmaceuticalStartDateTime has an offset"),
        ({"AcquisitionDateTime": "20000101102011+0100"}, "AcquisitionDateTime has an offset"),
    ],
)
def test_times_with_and_without_a_time_zone_are_not_compared(changes, word):
    with pytest.raises(MedleyError, match=f"scan: {word} from UTC.* TimezoneOffsetFromUTC is missing"):
        factor(**changes)


@pytest.mark.parametrize("offset", ["1", "+25", "+2500", "UTC", "+0160"])
def test_a_time_zone_that_is_none_is_refused(offset):
    with pytest.raises(MedleyError, match="slice: TimezoneOffsetFromUTC is"):
        factor(TimezoneOffsetFromUTC=offset)


@pytest.mark.parametrize("seconds", [1, 5, 90])
def test_an_injection_just_after_the_start_of_the_scan_is_not_one_of_the_day_before(seconds):
    time = f"11{20 + (11 + seconds) // 60:02d}{(11 + seconds) % 60:02d}"
    assert factor(RadiopharmaceuticalStartTime=time) == pytest.approx(after(-seconds))
    assert factor(RadiopharmaceuticalStartDateTime=f"20000101{time}") == pytest.approx(after(-seconds))


@pytest.mark.parametrize("time", ["114000", "150000", "201500"])
def test_an_injection_well_after_the_scan_is_refused(time):
    with pytest.raises(MedleyError, match=r"RadiopharmaceuticalStartTime is .* h after the start of the scan"):
        factor(RadiopharmaceuticalStartTime=time)


@pytest.mark.parametrize("half_life", [45720, 282276, 360806], ids=["Cu-64", "Zr-89", "I-124"])
def test_long_half_lives_need_the_date_of_the_injection(half_life):
    with pytest.raises(MedleyError, match="RadiopharmaceuticalStartDateTime is missing"):
        factor(RadionuclideHalfLife=half_life)
    expected = 71000 / (388777472 * 2 ** (-(2 * 86400 + 2711) / half_life))
    assert factor(RadionuclideHalfLife=half_life, RadiopharmaceuticalStartDateTime="19991230103500") == pytest.approx(
        expected
    )


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientWeight", 71000),
        ("PatientWeight", 0.071),
        ("PatientWeight", -71),
        ("RadionuclideTotalDose", 388777),
        ("RadionuclideTotalDose", 3.9e14),
        ("RadionuclideTotalDose", -1),
        ("RadionuclideHalfLife", 1.83),
        ("RadionuclideHalfLife", 1e12),
    ],
)
def test_impossible_numbers_are_refused(keyword, value):
    with pytest.raises(MedleyError, match=rf"scan: {keyword} is .*; expected .* to "):
        factor(**{keyword: value})


@pytest.mark.parametrize(
    ("series", "acquired", "injected", "seconds"),
    [
        ("150000", "112011", "103500", 2711),  # the series was made after the acquisition
        ("112011", "113000", "103500", 2711),
        ("112011", "112011", "103500", 2711),
        ("235500", "000500", "225500", 3600),  # the acquisition went on after midnight
        ("001000", "235000", "225000", 3600),  # the series was made after midnight
    ],
)
def test_an_acquisition_without_a_date_is_of_the_day_nearest_to_the_series(series, acquired, injected, seconds):
    changes = {"SeriesTime": series, "AcquisitionTime": acquired, "AcquisitionDate": ""}
    assert factor(**changes, RadiopharmaceuticalStartTime=injected) == pytest.approx(after(seconds))


def test_the_frame_reference_time_gives_the_start_of_a_series_made_later():
    # A bed of 4 minutes whose mean activity is reached 729 s after the start of the series.
    changed = header(SeriesTime="150000", AcquisitionTime="113211")
    changed.FrameReferenceTime, changed.ActualFrameDuration = 729000.0, 240000
    decay = np.log(2) / 6588
    mean = np.log(decay * 240 / (1 - np.exp(-decay * 240))) / decay
    found = suv_factor(constants(changed.get).get, [acquisition(changed.get, "slice")], "scan")
    assert found == pytest.approx(after(2711 + 720 + mean - 729))


def test_the_decay_factor_of_a_frame_is_not_applied_again(tmp_path, phantoms):
    def vary(ds, k):
        ds.DecayFactor = 1 + 0.05 * k

    phantoms.write_pet_series(tmp_path / "pet")
    phantoms.write_pet_series(tmp_path / "varied", change=vary)
    np.testing.assert_array_equal(read(tmp_path / "varied").data, read(tmp_path / "pet").data)


@pytest.mark.parametrize(
    "changes",
    [{"Units": "gml", "SUVType": "bw"}, {"Units": "GML", "SUVType": "Bw "}, {"Units": " GML "}],
)
def test_case_and_spaces_of_units_do_not_matter(changes):
    assert suv_factor(changes.get, [], "scan") == 1
