"""What a derived series keeps of its source: a list of what may stay, by module of PS3.3.

A list of what may stay is safer than one of what must go: private elements, overlays, comments, names of staff,
thumbnails and whatever comes with the next scanner are not on it.
"""

from __future__ import annotations

PATIENT = """
    PatientName PatientID IssuerOfPatientID TypeOfPatientID PatientBirthDate PatientSex PatientIdentityRemoved
    DeidentificationMethod DeidentificationMethodCodeSequence LongitudinalTemporalInformationModified
    PatientSpeciesDescription PatientAge PatientSize PatientWeight
"""

STUDY = """
    StudyInstanceUID StudyDate StudyTime StudyID StudyDescription AccessionNumber ReferringPhysicianName
    TimezoneOffsetFromUTC
"""

# The date and time of the series stay: the SUV of a PET series hangs on them.
SERIES = """
    Modality SeriesDate SeriesTime Laterality BodyPartExamined PatientPosition ProtocolName AnatomicRegionSequence
    FrameOfReferenceUID PositionReferenceIndicator
"""

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

KEPT: dict[str, tuple[str, ...]] = {
    modality: tuple((PATIENT + STUDY + SERIES + EQUIPMENT + IMAGE + own).split())
    for modality, own in (("CT", CT), ("MR", MR), ("PT", PT))
}

# Must be there, if only empty (type 2).
EMPTY: dict[str, tuple[str, ...]] = {
    modality: tuple(
        f"PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber "
        f"ReferringPhysicianName Manufacturer PositionReferenceIndicator AcquisitionNumber {own}".split()
    )
    for modality, own in (
        ("CT", "KVP"),
        ("MR", "ScanOptions MRAcquisitionType RepetitionTime EchoTime EchoTrainLength"),
        ("PT", "CollimatorType CorrectedImage PatientOrientationCodeSequence PatientGantryRelationshipCodeSequence"),
    )
}
