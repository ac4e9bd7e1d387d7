"""Standardised uptake value by body weight (SUVbw), by the book or not at all.

Source: QIBA, "SUV vendor neutral pseudo-code" (Quantitative Imaging Biomarkers Alliance, FDG-PET/CT), and DICOM PS3.3
C.8.9.1 and C.8.9.2 (PET Series, PET Isotope), C.8.22 (Enhanced PET).

    SUVbw = activity [Bq/ml] * weight [g] / (injected dose [Bq] * 2 ** (-time [s] / half life [s]))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, DT, TM

from medley.errors import MedleyError

# A dose below this is one written in MBq by mistake; the standard wants becquerel.
LEAST_DOSE_BQ = 1e5
# An injection so many half-lives before the scan is a wrong date (shifted by an anonymiser), not a scan.
MOST_HALF_LIVES = 10


def suv_factor(find: Callable[[str], Any], acquired: Iterable[datetime], where: object) -> float:
    """What a value of the file (after rescale) is multiplied by to become SUVbw in g/ml.

    Parameters
    ----------
    find: keyword -> value in the header of the series (None when absent).
    acquired: when the acquisition of each slice began, as far as the headers say.

    Raises
    ------
    MedleyError: a tag is missing or says that SUV cannot be had; the tag is named.
    """
    units = find("Units") or _enhanced_units(find)
    if units == "GML":
        if find("SUVType") not in (None, "", "BW"):
            raise MedleyError(f"{where}: SUVType is {find('SUVType')!r}, expected BW (body weight)")
        return 1.0
    if units != "BQML":
        raise MedleyError(f"{where}: Units is {units!r}, expected BQML or GML; without them there is no SUV")
    _check_corrections(find, where)
    isotopes = _need(find, "RadiopharmaceuticalInformationSequence", where)
    if len(isotopes) != 1:
        raise MedleyError(f"{where}: RadiopharmaceuticalInformationSequence has {len(isotopes)} items, expected one")
    dose = _positive(isotopes[0].get, "RadionuclideTotalDose", where)
    if dose < LEAST_DOSE_BQ:
        raise MedleyError(f"{where}: RadionuclideTotalDose is {dose:g}, which cannot be in Bq as the standard wants it")
    weight = _positive(find, "PatientWeight", where)
    if _decayed_to_injection(find):
        return 1000 * weight / dose
    half_life = _positive(isotopes[0].get, "RadionuclideHalfLife", where)
    reference = _reference_time(find, list(acquired), where)
    elapsed = (reference - _injected(isotopes[0], reference, where)).total_seconds()
    if not 0 <= elapsed <= MOST_HALF_LIVES * half_life:
        raise MedleyError(
            f"{where}: by its tags the injection was {elapsed / 3600:.1f} h before the scan, which cannot be; check "
            "RadiopharmaceuticalStartDateTime (or StartTime) and SeriesTime"
        )
    return 1000 * weight / (dose * 2 ** (-elapsed / half_life))


def acquisition_time(find: Callable[[str], Any]) -> datetime | None:
    """When the acquisition of a slice began, or None when its header does not say."""
    exact = find("FrameAcquisitionDateTime") or find("AcquisitionDateTime")
    return _from_dt(exact) if exact else _combine(find("AcquisitionDate"), find("AcquisitionTime"))


def _check_corrections(find: Callable[[str], Any], where: object) -> None:
    """Decay and attenuation must be corrected; the enhanced object says so in tags of its own."""
    if find("DecayCorrected") is not None:
        for keyword in ("DecayCorrected", "AttenuationCorrected"):
            if _need(find, keyword, where) != "YES":
                raise MedleyError(f"{where}: {keyword} is {find(keyword)!r}, expected YES; without it there is no SUV")
        return
    corrected = _need(find, "CorrectedImage", where)
    corrected = [corrected] if isinstance(corrected, str) else list(corrected)
    for word in ("DECY", "ATTN"):
        if word not in corrected:
            raise MedleyError(f"{where}: CorrectedImage is {corrected}, without {word}; without it there is no SUV")
    if _need(find, "DecayCorrection", where) not in ("START", "ADMIN"):
        raise MedleyError(f"{where}: DecayCorrection is {find('DecayCorrection')!r}, expected START or ADMIN")


def _decayed_to_injection(find: Callable[[str], Any]) -> bool:
    return find("DecayCorrected") is None and find("DecayCorrection") == "ADMIN"


def _reference_time(find: Callable[[str], Any], acquired: list[datetime], where: object) -> datetime:
    """The time the values are decayed to: the start of the series, unless that was made after the acquisition."""
    if find("DecayCorrected") is not None:
        return _from_dt(_need(find, "DecayCorrectionDateTime", where))
    series = _combine(_need(find, "SeriesDate", where), _need(find, "SeriesTime", where))
    assert series is not None
    return min([series, *acquired])


def _injected(isotope: Dataset, reference: datetime, where: object) -> datetime:
    exact = isotope.get("RadiopharmaceuticalStartDateTime")
    if exact:
        return _from_dt(exact)
    time = isotope.get("RadiopharmaceuticalStartTime")
    if not time:
        raise MedleyError(
            f"{where}: RadiopharmaceuticalStartDateTime and RadiopharmaceuticalStartTime are missing; without one of "
            "them there is no SUV"
        )
    injected = datetime.combine(reference.date(), TM(time))
    # Only the time of day is known: an injection later than the scan was on the day before.
    return injected - timedelta(days=1) if injected > reference else injected


def _enhanced_units(find: Callable[[str], Any]) -> str:
    """Units of an enhanced PET image, in the words of the classic one."""
    codes = find("MeasurementUnitsCodeSequence")
    code = codes[0].get("CodeValue", "") if codes else ""
    return {"Bq/ml": "BQML", "{SUVbw}g/ml": "GML"}.get(code, code)


def _need(find: Callable[[str], Any], keyword: str, where: object) -> Any:
    value = find(keyword)
    if value is None or value == "" or (hasattr(value, "__len__") and len(value) == 0):
        raise MedleyError(f"{where}: {keyword} is missing; without it there is no SUV")
    return value


def _positive(find: Callable[[str], Any], keyword: str, where: object) -> float:
    value = float(_need(find, keyword, where))
    if not value > 0:
        raise MedleyError(f"{where}: {keyword} is {value:g}, expected a positive number")
    return value


def _combine(date: Any, time: Any) -> datetime | None:
    return datetime.combine(DA(date), TM(time)) if date and time else None


def _from_dt(value: Any) -> datetime:
    """A date and time without its offset from UTC: all times of a scan are of one clock."""
    exact = DT(value)
    return datetime(*exact.timetuple()[:6], exact.microsecond)
