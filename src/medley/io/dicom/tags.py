"""The elements that a derived series keeps of its source: lists of permitted elements, by module of PS3.3.

A list of permitted elements is safer than a list of forbidden ones: private elements, overlays, comments, names of
staff, thumbnails and elements of future scanners are not on it. The same applies inside sequences.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from pydicom.config import RAISE
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.valuerep import validate_value

from medley.errors import MedleyNotice
from medley.io.dicom.planar import PLANAR

PATIENT = """
    PatientName PatientID IssuerOfPatientID TypeOfPatientID PatientBirthDate PatientSex PatientIdentityRemoved
    DeidentificationMethod DeidentificationMethodCodeSequence LongitudinalTemporalInformationModified
    PatientSpeciesDescription PatientAge PatientSize PatientWeight
"""

STUDY = """
    StudyInstanceUID StudyDate StudyTime StudyID StudyDescription AccessionNumber ReferringPhysicianName
    TimezoneOffsetFromUTC
"""

# The date and time of the series stay: the SUV of a PET series depends on them.
SERIES = """
    Modality SeriesDate SeriesTime Laterality BodyPartExamined PatientPosition ProtocolName AnatomicRegionSequence
    FrameOfReferenceUID PositionReferenceIndicator
"""

# Kept in an item of ContributingEquipmentSequence, see `medley.io.dicom.provenance`; the institution also in the image.
EQUIPMENT = "Manufacturer ManufacturerModelName InstitutionName StationName DeviceSerialNumber SoftwareVersions"

IMAGE = """
    AcquisitionNumber AcquisitionDate AcquisitionTime AcquisitionDateTime BurnedInAnnotation
    RecognizableVisualFeatures LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod
    PhotometricInterpretation SliceThickness ContrastBolusAgent ContrastBolusRoute
    WindowCenter WindowWidth WindowCenterWidthExplanation VOILUTFunction
"""

CT = """
    KVP ScanOptions DataCollectionDiameter ReconstructionDiameter DistanceSourceToDetector DistanceSourceToPatient
    GantryDetectorTilt TableHeight RotationDirection ExposureTime XRayTubeCurrent Exposure FilterType GeneratorPower
    FocalSpots ConvolutionKernel RevolutionTime SingleCollimationWidth TotalCollimationWidth TableSpeed
    TableFeedPerRotation SpiralPitchFactor ExposureModulationType CTDIvol RescaleType
"""

MR = """
    ScanningSequence SequenceVariant ScanOptions MRAcquisitionType SequenceName AngioFlag RepetitionTime EchoTime
    InversionTime NumberOfAverages ImagingFrequency ImagedNucleus EchoNumbers MagneticFieldStrength
    SpacingBetweenSlices NumberOfPhaseEncodingSteps EchoTrainLength PercentSampling PercentPhaseFieldOfView
    PixelBandwidth ReceiveCoilName TransmitCoilName AcquisitionMatrix InPlanePhaseEncodingDirection FlipAngle
    VariableFlipAngleFlag TriggerTime
"""

PT = """
    Units SUVType CountsSource SeriesType ReprojectionMethod NumberOfRRIntervals NumberOfTimeSlots NumberOfTimeSlices
    NumberOfRotations RandomsCorrectionMethod AttenuationCorrectionMethod ScatterCorrectionMethod DecayCorrection
    ReconstructionDiameter ConvolutionKernel ReconstructionMethod CollimatorType CorrectedImage
    AcquisitionStartCondition
    AcquisitionTerminationCondition EnergyWindowRangeSequence RadiopharmaceuticalInformationSequence
    PatientOrientationCodeSequence PatientGantryRelationshipCodeSequence FrameReferenceTime ActualFrameDuration
    DecayFactor DoseCalibrationFactor ScatterFractionFactor DeadTimeFactor SliceSensitivityFactor TriggerTime
"""

PLANAR_IMAGE = """
    KVP ExposureTime XRayTubeCurrent Exposure ViewPosition ViewCodeSequence ImageLaterality PatientOrientation
    ImagerPixelSpacing PixelSpacing PixelSpacingCalibrationType PixelIntensityRelationship
    PixelIntensityRelationshipSign PresentationLUTShape TransducerType SequenceOfUltrasoundRegions
    PixelAspectRatio
"""

KEPT: dict[str, tuple[str, ...]] = {
    modality: tuple((PATIENT + STUDY + SERIES + "InstitutionName" + IMAGE + own).split())
    for modality, own in (("CT", CT), ("MR", MR), ("PT", PT), *((planar, PLANAR_IMAGE) for planar in PLANAR))
}

# Permitted inside sequences: codes, the description of the radiopharmaceutical and the energy windows, and regions of
# ultrasound with the size of their pixels.
_CODES = """
    CodeValue CodingSchemeDesignator CodingSchemeVersion CodeMeaning LongCodeValue URNCodeValue ContextIdentifier
    ContextUID MappingResource ContextGroupVersion AnatomicRegionModifierSequence PatientOrientationModifierCodeSequence
"""
_PET = """
    EnergyWindowLowerLimit EnergyWindowUpperLimit Radiopharmaceutical RadiopharmaceuticalRoute
    RadiopharmaceuticalVolume RadiopharmaceuticalStartTime RadiopharmaceuticalStopTime
    RadiopharmaceuticalStartDateTime RadiopharmaceuticalStopDateTime RadionuclideTotalDose RadionuclideHalfLife
    RadionuclidePositronFraction RadiopharmaceuticalSpecificActivity RadionuclideCodeSequence
    RadiopharmaceuticalCodeSequence AdministrationRouteCodeSequence
"""
_REGION = """
    RegionSpatialFormat RegionDataType RegionFlags RegionLocationMinX0 RegionLocationMinY0 RegionLocationMaxX1
    RegionLocationMaxY1 ReferencePixelX0 ReferencePixelY0 PhysicalUnitsXDirection PhysicalUnitsYDirection
    PhysicalDeltaX PhysicalDeltaY
"""
NESTED = frozenset((_CODES + _PET + _REGION).split())
_NUMBERS = {"DS", "IS", "FD", "FL", "SL", "SS", "UL", "US", "SV", "UV"}
# Types with a strict form. Texts are kept as they are, because patients are identified by them.
_FORMS = {"AS", "CS", "DA", "DT", "TM", "UI"}
# The only values that the standard permits.
_ENUMERATED = {
    "PatientSex": ("M", "F", "O"),
    **dict.fromkeys(("Laterality", "ImageLaterality"), ("R", "L", "B", "U")),
    **dict.fromkeys(("BurnedInAnnotation", "RecognizableVisualFeatures", "PatientIdentityRemoved"), ("YES", "NO")),
    "LossyImageCompression": ("00", "01"),
    "LongitudinalTemporalInformationModified": ("UNMODIFIED", "MODIFIED", "REMOVED"),
    "MRAcquisitionType": ("2D", "3D"),
    **dict.fromkeys(("AngioFlag", "VariableFlipAngleFlag"), ("Y", "N")),
    "RotationDirection": ("CW", "CC"),
}

# Must be present, empty if unknown (type 2).
EMPTY: dict[str, tuple[str, ...]] = {
    modality: tuple(
        f"PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber "
        f"ReferringPhysicianName Manufacturer PositionReferenceIndicator AcquisitionNumber {own}".split()
    )
    for modality, own in (
        ("CT", "KVP"),
        ("MR", "ScanOptions MRAcquisitionType RepetitionTime EchoTime EchoTrainLength"),
        (
            "PT",
            "CollimatorType CorrectedImage ActualFrameDuration PatientOrientationCodeSequence "
            "PatientGantryRelationshipCodeSequence",
        ),
        *((planar, "Laterality PatientOrientation") for planar in PLANAR),
    )
}


def keep(new: Dataset, keywords: tuple[str, ...], find: Callable[[str], Any], path: object, reported: set[str]) -> None:
    """Copy elements of a source into a new object, sequences without what `NESTED` does not list.

    An element with an invalid value, such as "40,0" for a number, "2024.01.02" for a date or "MALE" for a sex, is left
    out with a `MedleyNotice`; it stays empty where it was present in the new object.

    Parameters
    ----------
    find: from a keyword to the value in the source, None if absent. path: of the source, for notices.
    reported: keywords of which a notice was given already; more are added.
    """
    for keyword in keywords:
        value = find(keyword)
        if value is None:
            continue
        empty = keyword in new and not new[keyword].value
        if isinstance(value, Sequence):
            value = Sequence([_permitted(item) for item in value])
        try:
            setattr(new, keyword, value)
            valid = _is_valid(keyword, new[keyword].VR, new[keyword].value)
        except (ValueError, TypeError, OverflowError, AttributeError):
            valid = False
        if valid:
            continue
        if keyword in new:
            del new[keyword]
        if empty:
            setattr(new, keyword, None)
        if keyword not in reported:
            reported.add(keyword)
            text = f"{path}: {keyword} is {value!r}, which is not valid; it is left out of the result"
            warnings.warn(text, MedleyNotice, stacklevel=2)


def _is_valid(keyword: str, vr: str, value: Any) -> bool:
    """Whether an element holds what its type and the standard permit; may raise ValueError instead of returning False.

    An empty value is valid.
    """
    if value in (None, "") or vr == "SQ":
        return True
    for one in value if isinstance(value, MultiValue) else [value]:
        if vr in _NUMBERS:
            float(one)
        elif vr in _FORMS:
            validate_value(vr, str(one), RAISE)
    return keyword not in _ENUMERATED or value in _ENUMERATED[keyword]


def _permitted(item: Dataset) -> Dataset:
    new = Dataset()
    for element in item:
        if element.keyword in NESTED:
            nested = element.VR == "SQ"
            value = Sequence([_permitted(one) for one in element.value]) if nested else element.value
            setattr(new, element.keyword, value)
    return new
