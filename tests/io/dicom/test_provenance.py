"""Where written objects come from: equipment, algorithm, derivation, sources, and what stays behind."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import JPEGLSNearLossless

from medley import __version__
from medley.io.dicom import provenance
from medley.io.dicom.dose import write_dose
from medley.io.dicom.provenance import COMMENT, Algorithm, add_losses, coded, series_number
from medley.io.dicom.segmentation import write_segmentation
from medley.io.dicom.structures_write import write_structures
from medley.io.files import read, write

ALGORITHM = Algorithm("tat-tiny", "5ec2e7" * 10 + "abcd", "ct-denoise", {"strength": "0.5", "scale": 1})
SETTINGS = f"weights SHA-256 {ALGORITHM.sha256}; strength 0.5; scale 1"


def first_of(folder):
    return dcmread(min(folder.iterdir()))


def code_in(sequence):
    return sequence[0].CodeValue, sequence[0].CodingSchemeDesignator, sequence[0].CodeMeaning


def purposes(new):
    return [code_in(item.PurposeOfReferenceCodeSequence)[0] for item in new.ContributingEquipmentSequence]


def written(write_object, scan, path):
    mask = np.zeros(scan.shape, bool)
    mask[1, 2:6, 3:7] = True
    content = scan.with_data(np.ones(scan.shape, np.float32), modality="RTDOSE", unit="Gy")
    write_object(content if write_object is write_dose else {"Heart": mask}, path, reference=scan, algorithm=ALGORITHM)
    return dcmread(path)


def test_the_codes_are_those_of_the_standard():
    assert codes.cid7005.AcquisitionEquipment == provenance._ACQUISITION
    assert codes.cid7005.ProcessingEquipment == provenance._PROCESSING
    assert codes.cid7202.SourceImageForImageProcessingOperation == provenance._SOURCE
    assert codes.cid7162.ArtificialIntelligence == provenance.FAMILY
    for code in (*provenance._OPERATIONS.values(), provenance._RESAMPLING):
        assert code in codes.cid7203


def test_a_restored_image_states_network_weights_parameters_and_source(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct")
    scan = read(tmp_path / "ct")
    write(scan, tmp_path / "out", derivation="medley tat-tiny ct-denoise", algorithm=ALGORITHM)
    for file in (tmp_path / "out").iterdir():
        new = dcmread(file)
        assert new.DerivationDescription == f"medley tat-tiny ct-denoise; {SETTINGS}"
        assert code_in(new.DerivationCodeSequence) == ("113087", "DCM", "Smoothing")
        (source,) = new.SourceImageSequence
        assert code_in(source.PurposeOfReferenceCodeSequence)[0] == "121322"
        assert source.SpatialLocationsPreserved == "YES"
        (series,) = new.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == dcmread(scan.source.paths[0]).SeriesInstanceUID
        (image,) = series.ReferencedInstanceSequence
        assert image.ReferencedSOPInstanceUID == source.ReferencedSOPInstanceUID
        assert new.ImageComments == COMMENT
        assert (new.Manufacturer, new.SoftwareVersions) == ("medley", __version__)
        scanner, medley = new.ContributingEquipmentSequence
        assert purposes(new) == ["109101", "109102"]
        assert scanner.Manufacturer == "Phantom Works"
        assert (medley.Manufacturer, medley.ContributionDescription) == ("medley", new.DerivationDescription)
        assert medley.ContributionDateTime.startswith(new.ContentDate)


def test_a_finer_grid_is_coded_as_resampled(tmp_path, phantoms):
    phantoms.write_mr_series(tmp_path / "mr")
    scan = read(tmp_path / "mr")
    finer = scan.affine @ np.diag([1, 0.5, 0.5, 1])
    fine = scan.with_data(np.kron(scan.data, np.ones((1, 2, 2), np.float32)), affine=finer)
    write(fine, tmp_path / "out", algorithm=Algorithm("x", task="mr-sr"))
    new = first_of(tmp_path / "out")
    assert [code.CodeMeaning for code in new.DerivationCodeSequence] == ["Edge enhancement", "Spatial resampling"]
    assert new.SourceImageSequence[0].SpatialLocationsPreserved == "NO"
    assert new.DerivationDescription == f"medley {__version__} x mr-sr"


def test_without_a_network_no_operation_is_coded(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct")
    write(read(tmp_path / "ct"), tmp_path / "out", derivation="degraded by noise")
    new = first_of(tmp_path / "out")
    assert "DerivationCodeSequence" not in new
    assert new.DerivationDescription == "degraded by noise"


def test_the_history_grows_and_leaves_free_text_of_others_behind(tmp_path, phantoms):
    def contribute(ds, k):
        other, nameless, aimless = Dataset(), Dataset(), Dataset()
        other.Manufacturer, other.ContributionDescription = "Gateway Works", "private words"
        other.OperatorsName = other.ContactDisplayName = "private^words"
        other.private_block(0x0009, "SECRET", create=True).add_new(1, "LO", "private words")
        for item in (other, nameless):
            item.PurposeOfReferenceCodeSequence = [coded(codes.cid7005.DeIdentifyingEquipment)]
        aimless.Manufacturer = "Aimless Works"
        ds.ContributingEquipmentSequence = [other, nameless, aimless]

    phantoms.write_ct_series(tmp_path / "ct", change=contribute)
    write(read(tmp_path / "ct"), tmp_path / "once", algorithm=ALGORITHM)
    write(read(tmp_path / "once"), tmp_path / "twice", derivation="again")
    new = first_of(tmp_path / "twice")
    assert purposes(new) == ["109101", "109104", "109102", "109102"]
    makers = [item.Manufacturer for item in new.ContributingEquipmentSequence]
    assert makers == ["Phantom Works", "Gateway Works", "medley", "medley"]
    texts = [item.ContributionDescription for item in new.ContributingEquipmentSequence[2:]]
    assert texts == [f"medley {__version__} tat-tiny ct-denoise; {SETTINGS}", "again"]
    assert b"private" not in min((tmp_path / "twice").iterdir()).read_bytes()


@pytest.mark.parametrize("write_object", [write_dose, write_segmentation, write_structures])
def test_predicted_objects_state_their_origin(rt, tmp_path, write_object):
    if write_object is write_segmentation:
        pytest.importorskip("highdicom")
    scan = rt.write_ct(tmp_path / "ct")
    new = written(write_object, scan, tmp_path / "new.dcm")
    assert new.Manufacturer == "medley"
    assert purposes(new)[-1] == "109102"
    assert SETTINGS in new.ContributingEquipmentSequence[-1].ContributionDescription
    number = dcmread(scan.source.paths[0]).SeriesNumber
    assert str(new.SeriesNumber).startswith(str(number))
    if write_object is write_structures:
        (identified,) = new.StructureSetROISequence[0].ROIDerivationAlgorithmIdentificationSequence
        assert (identified.AlgorithmName, identified.AlgorithmParameters) == ("medley tat-tiny", SETTINGS)
    else:
        assert new.ImageComments == COMMENT
        assert new.ImageType[0] == "DERIVED"


def test_a_segmentation_identifies_its_algorithm_and_the_sources_of_its_frames(rt, tmp_path):
    pytest.importorskip("highdicom")
    scan = rt.write_ct(tmp_path / "ct")
    new = written(write_segmentation, scan, tmp_path / "seg.dcm")
    (algorithm,) = new.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmSource) == ("medley tat-tiny", "medley")
    assert algorithm.AlgorithmParameters == SETTINGS
    assert code_in(algorithm.AlgorithmFamilyCodeSequence)[0] == "123110"
    (group,) = new.PerFrameFunctionalGroupsSequence
    (derivation,) = group.DerivationImageSequence
    assert code_in(derivation.DerivationCodeSequence)[:2] == ("113076", "DCM")
    (source,) = derivation.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == scan.source.frames[1].instance
    assert code_in(source.PurposeOfReferenceCodeSequence)[0] == "121322"


def test_series_numbers_begin_with_that_of_the_scan():
    uids = [f"2.25.{digits}" for digits in (123456789, 987654321, 7)]
    numbers = [series_number(3, uid) for uid in uids]
    assert numbers == [356789, 354321, 300007]
    texts = sorted(map(str, [2, 3, 4, *numbers]))
    assert texts == ["2", "3", "300007", "354321", "356789", "4"]
    assert all(series_number(a, uids[0]) < series_number(b, uids[0]) for a, b in pairwise((1, 2, 901, 21473)))
    for none in (None, 0, -1, "", 21475, 356789):
        assert 10_000_000 <= series_number(none, uids[0]) < 100_000_000


def test_what_compression_lost_stays_lost(rt, tmp_path):
    def lose(ds, k):
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", 12.5
        ds.LossyImageCompressionMethod = "ISO_15444_1"

    rt.phantoms.write_ct_series(tmp_path / "ct", change=lose)
    scan = read(tmp_path / "ct")
    write(scan, tmp_path / "out")
    for new in (first_of(tmp_path / "out"), written(write_dose, scan, tmp_path / "rd.dcm")):
        assert (new.LossyImageCompression, new.LossyImageCompressionRatio) == ("01", 12.5)
        assert new.LossyImageCompressionMethod == "ISO_15444_1"


def test_a_lossy_transfer_syntax_counts_where_the_header_is_silent(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct")
    pixels, new = read(tmp_path / "ct").source.frames[0].pixels, Dataset()
    add_losses(new, {}.get, pixels)
    assert "LossyImageCompression" not in new
    add_losses(new, {}.get, replace(pixels, syntax=str(JPEGLSNearLossless)))
    assert (new.LossyImageCompression, new.LossyImageCompressionMethod) == ("01", "ISO_14495_1")
