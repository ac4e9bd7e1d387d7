"""Standardised uptake value by body weight (SUVbw), computed by the rules of QIBA or refused.

Source: QIBA, "SUV vendor neutral pseudo-code" (Quantitative Imaging Biomarkers Alliance, FDG-PET/CT), and DICOM PS3.3
C.8.9.1 and C.8.9.2 (PET Series, PET Isotope), C.8.22 (Enhanced PET).

    SUVbw = activity [Bq/ml] * weight [g] / (injected dose [Bq] * 2 ** (-time [s] / half life [s]))

Dates and times: TimezoneOffsetFromUTC holds for all of a header, an offset in a DateTime for that value. Times with and
without a known time zone are never compared.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from pydicom.valuerep import DA, DT, TM

from medley.errors import MedleyError

DOSE_BQ = (1e6, 1e11)  # a lower dose was written in MBq or kBq by mistake
WEIGHT_KG = (0.3, 500.0)  # a higher weight was written in grams
HALF_LIFE_S = (30.0, 1e8)  # from less than Rb-82 (76 s) to years
# An injection this many half-lives before the scan has a wrong date (shifted by an anonymiser).
MOST_HALF_LIVES = 10
# Where the date of the injection is not given: one day too many must be more half-lives than this.
MOST_HALF_LIVES_WITHOUT_DATE = 5
# An injection may follow the start of the scan: in dynamic scans, or because two clocks differ.
LATEST_INJECTION_S = 600
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Acquisition:
    """When a slice was acquired.

    Attributes
    ----------
    began: its start.
    reference, duration: FrameReferenceTime and ActualFrameDuration in s; 0 where the header does not give them.
    """

    began: datetime
    reference: float = 0.0
    duration: float = 0.0

    def series_began(self, half_life: float) -> datetime:
        """The start of the series by this slice.

        FrameReferenceTime is the time from the start of the series to the moment in the frame at which the activity
        equals its mean (QIBA); without it the start of the slice is the best estimate.
        """
        if not (self.reference > 0 and self.duration > 0):
            return self.began
        decay = math.log(2) / half_life * self.duration
        mean = math.log(decay / -math.expm1(-decay)) * self.duration / decay
        return self.began + timedelta(seconds=mean - self.reference)


def suv_factor(find: Callable[[str], Any], acquired: Iterable[Acquisition], where: object) -> float:
    """The factor from a value of the file (after rescale) to SUVbw in g/ml.

    Parameters
    ----------
    find: keyword -> value of the series as `medley.io.dicom.consistency.constants` gives it (None when absent).
    acquired: when the slices were acquired, as far as the headers state it.

    Raises
    ------
    MedleyError: an element is missing, or its value does not allow an SUV; the message names it.
    """
    units = _upper(find("Units")) or _enhanced_units(find)
    if units == "GML":
        if _upper(find("SUVType")) not in ("", "BW"):
            raise MedleyError(f"{where}: SUVType is {find('SUVType')!r}, expected BW (body weight)")
        return 1.0
    if units != "BQML":
        raise MedleyError(f"{where}: Units is {units or None!r}, expected BQML or GML; without them there is no SUV")
    _check_corrections(find, where)
    isotopes = _need(find, "RadiopharmaceuticalInformationSequence", where)
    if len(isotopes) != 1:
        raise MedleyError(f"{where}: RadiopharmaceuticalInformationSequence has {len(isotopes)} items, expected one")
    isotope = dict(isotopes[0])
    dose = _between(isotope.get, "RadionuclideTotalDose", DOSE_BQ, "Bq", where)
    weight = _between(find, "PatientWeight", WEIGHT_KG, "kg", where)
    if find("DecayCorrected") is None and _upper(find("DecayCorrection")) == "ADMIN":
        return 1000 * weight / dose
    half_life = _between(isotope.get, "RadionuclideHalfLife", HALF_LIFE_S, "s", where)
    reference = _reference_time(find, list(acquired), half_life, where)
    elapsed = _elapsed(isotope, reference, half_life, _zone(find, where), where)
    return 1000 * weight / (dose * 2 ** (-elapsed / half_life))


def acquisition(find: Callable[[str], Any], where: object) -> Acquisition | None:
    """When a slice was acquired, or None if its header does not state it.

    A time without a date is taken to be of the day on which it is nearest to the time of the series.
    """
    zone = _zone(find, where)
    if exact := find("FrameAcquisitionDateTime") or find("AcquisitionDateTime"):
        began = _from_dt(exact, zone)
    elif time := find("AcquisitionTime"):
        if day := find("AcquisitionDate"):
            began = _combine(day, time, zone)
        elif find("SeriesDate") and find("SeriesTime"):
            series = _combine(find("SeriesDate"), find("SeriesTime"), zone)
            same = datetime.combine(series.date(), TM(time), zone)
            began = min((same - _DAY, same, same + _DAY), key=lambda one: abs(one - series))
        else:
            return None
    else:
        return None
    reference, duration = (float(find(one) or 0) / 1000 for one in ("FrameReferenceTime", "ActualFrameDuration"))
    return Acquisition(began, reference, duration)


def _check_corrections(find: Callable[[str], Any], where: object) -> None:
    """Decay and attenuation must be corrected; enhanced images use other elements for this."""
    if find("DecayCorrected") is not None:
        for keyword in ("DecayCorrected", "AttenuationCorrected"):
            if _upper(_need(find, keyword, where)) != "YES":
                raise MedleyError(f"{where}: {keyword} is {find(keyword)!r}, expected YES; without it there is no SUV")
        return
    corrected = _need(find, "CorrectedImage", where)
    corrected = [_upper(one) for one in ([corrected] if isinstance(corrected, str) else corrected)]
    for word in ("DECY", "ATTN"):
        if word not in corrected:
            raise MedleyError(f"{where}: CorrectedImage is {corrected}, without {word}; without it there is no SUV")
    if _upper(_need(find, "DecayCorrection", where)) not in ("START", "ADMIN"):
        raise MedleyError(f"{where}: DecayCorrection is {find('DecayCorrection')!r}, expected START or ADMIN")


def _reference_time(
    find: Callable[[str], Any], acquired: list[Acquisition], half_life: float, where: object
) -> datetime:
    """The time to which the values are decay corrected: the start of the series.

    If the series is later than its acquisition, it was made afterwards, and the time of the acquisition is used.
    """
    zone = _zone(find, where)
    if find("DecayCorrected") is not None:
        return _from_dt(_need(find, "DecayCorrectionDateTime", where), zone)
    series = _combine(_need(find, "SeriesDate", where), _need(find, "SeriesTime", where), zone)
    if not acquired:
        return series
    for one in acquired:
        _check_clocks({"AcquisitionDateTime": one.began, "SeriesTime": series}, where)
    first = min(acquired, key=lambda one: one.began)
    return series if series <= first.began else first.series_began(half_life)


def _elapsed(
    isotope: Mapping[str, Any], reference: datetime, half_life: float, zone: timezone | None, where: object
) -> float:
    """Seconds from the injection to the reference time."""
    if exact := isotope.get("RadiopharmaceuticalStartDateTime"):
        injected = _from_dt(exact, zone)
        _check_clocks({"RadiopharmaceuticalStartDateTime": injected, "the time of the scan": reference}, where)
        elapsed = (reference - injected).total_seconds()
        if not -LATEST_INJECTION_S <= elapsed <= MOST_HALF_LIVES * half_life:
            raise MedleyError(
                f"{where}: by its header the injection was {elapsed / 3600:.1f} h before the scan, which cannot be; "
                "check RadiopharmaceuticalStartDateTime, SeriesDate and SeriesTime"
            )
        return elapsed
    time = isotope.get("RadiopharmaceuticalStartTime")
    if not time:
        raise MedleyError(
            f"{where}: RadiopharmaceuticalStartDateTime and RadiopharmaceuticalStartTime are missing; without one of "
            "them there is no SUV"
        )
    local = reference.astimezone(zone) if zone and reference.tzinfo else reference
    injected = datetime.combine(local.date(), TM(time), zone)
    _check_clocks({"RadiopharmaceuticalStartTime": injected, "the time of the scan": local}, where)
    same_day = (local - injected).total_seconds()
    possible = [same_day + days * _DAY.total_seconds() for days in (0, 1, 2)]
    limit = MOST_HALF_LIVES_WITHOUT_DATE * half_life
    possible = [one for one in possible if -LATEST_INJECTION_S <= one <= limit]
    if not possible:
        raise MedleyError(
            f"{where}: RadiopharmaceuticalStartTime is {-same_day / 3600:.1f} h after the start of the scan at "
            f"{local:%H:%M:%S}, and the day before is too long ago for a half-life of {half_life:g} s; check both times"
            if same_day < 0
            else f"{where}: by its header the injection was {same_day / 3600:.1f} h before the scan, which cannot be "
            f"for a half-life of {half_life:g} s; check RadiopharmaceuticalStartTime and SeriesTime"
        )
    if len(possible) > 1:
        raise MedleyError(
            f"{where}: RadiopharmaceuticalStartDateTime is missing, and with a half-life of {half_life / 3600:.3g} h "
            "the injection may have been on the day of the scan or on one before; without the date there is no SUV"
        )
    return possible[0]


def _check_clocks(times: Mapping[str, datetime], where: object) -> None:
    """Refuse to compare times of which only some have a known time zone."""
    known = [name for name, time in times.items() if time.tzinfo]
    if known and len(known) < len(times):
        unknown = next(name for name in times if name not in known)
        raise MedleyError(
            f"{where}: {known[0]} has an offset from UTC, but for {unknown} TimezoneOffsetFromUTC is missing, so the "
            "time between them is not known; add TimezoneOffsetFromUTC"
        )


def _enhanced_units(find: Callable[[str], Any]) -> str:
    """Units of an enhanced PET image, in the terms of the classic one."""
    codes = find("MeasurementUnitsCodeSequence")
    code = str(dict(codes[0]).get("CodeValue", "")) if codes else ""
    return {"Bq/ml": "BQML", "{SUVbw}g/ml": "GML"}.get(code, code)


def _need(find: Callable[[str], Any], keyword: str, where: object) -> Any:
    value = find(keyword)
    if value is None or value == "" or (hasattr(value, "__len__") and len(value) == 0):
        raise MedleyError(f"{where}: {keyword} is missing; without it there is no SUV")
    return value


def _between(find: Callable[[str], Any], keyword: str, limits: tuple[float, float], unit: str, where: object) -> float:
    value = float(_need(find, keyword, where))
    if not limits[0] <= value <= limits[1]:
        raise MedleyError(f"{where}: {keyword} is {value:g}; expected {limits[0]:g} to {limits[1]:g} {unit}")
    return value


def _upper(value: Any) -> str:
    return str(value or "").strip().upper()


def _zone(find: Callable[[str], Any], where: object) -> timezone | None:
    """TimezoneOffsetFromUTC, such as +0530; None where it is missing."""
    text = str(find("TimezoneOffsetFromUTC") or "").strip()
    if not text:
        return None
    match = re.fullmatch(r"([+-])(\d\d)(\d\d)", text)
    if not match or int(match[2]) > 14 or int(match[3]) > 59:
        raise MedleyError(f"{where}: TimezoneOffsetFromUTC is {text!r}; expected an offset such as +0100")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


def _combine(day: Any, time: Any, zone: timezone | None) -> datetime:
    return datetime.combine(DA(day), TM(time), zone)


def _from_dt(value: Any, zone: timezone | None) -> datetime:
    """A DateTime; without an offset it is in the time zone of the header."""
    exact = DT(value)
    return datetime(*exact.timetuple()[:6], exact.microsecond, exact.tzinfo or zone)
