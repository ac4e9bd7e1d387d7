"""Which k-space lines were measured, by the header of an MR scan; and that restoring keeps them."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medley.errors import MedleyError
from medley.io.dicom.measured import measured_lines
from medley.io.files import open_scan

SQUARE = {"AcquisitionMatrix": (256.0, 0.0, 0.0, 192.0), "InPlanePhaseEncodingDirection": "COL"}


@pytest.mark.parametrize(
    ("changes", "size", "lines"),
    [
        ({}, (512, 512), (192, 256)),
        (
            {"AcquisitionMatrix": (0.0, 256.0, 192.0, 0.0), "InPlanePhaseEncodingDirection": "ROW"},
            (512, 512),
            (256, 192),
        ),
        ({"PercentSampling": 75.0}, (512, 512), (144, 256)),
        ({"PercentSampling": 150.0}, (512, 512), (192, 256)),
        # A narrow field of view that is shown in a square grid: not more lines than were counted.
        ({"PercentPhaseFieldOfView": 75.0}, (512, 512), (192, 256)),
        # A wide one of which a part is shown.
        ({"PercentPhaseFieldOfView": 150.0}, (512, 512), (128, 256)),
        ({}, (128, 128), (128, 128)),  # never more than the grid has
        ({"PartialFourier": "YES", "PartialFourierDirection": "SLICE"}, (512, 512), (192, 256)),
        ({"ScanOptions": ("FS", "SP")}, (512, 512), (192, 256)),
        (
            {
                "AcquisitionMatrix": None,
                "MRAcquisitionFrequencyEncodingSteps": 256.0,
                "MRAcquisitionPhaseEncodingStepsInPlane": 192.0,
                "InPlanePhaseEncodingDirection": "COLUMN",
            },
            (512, 512),
            (192, 256),
        ),
    ],
)
def test_lines_that_were_measured(changes, size, lines):
    assert measured_lines({**SQUARE, **changes}.get, size, (0.8, 0.8), "scan") == lines


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"AcquisitionMatrix": None}, "AcquisitionMatrix is missing"),
        ({"AcquisitionMatrix": (0.0, 0.0, 0.0, 0.0)}, "AcquisitionMatrix is missing or empty"),
        ({"AcquisitionMatrix": (256.0, 256.0)}, "AcquisitionMatrix is"),
        ({"AcquisitionMatrix": "unreadable"}, "AcquisitionMatrix is unreadable"),
        ({"InPlanePhaseEncodingDirection": None}, "InPlanePhaseEncodingDirection is missing"),
        ({"InPlanePhaseEncodingDirection": "OTHER"}, "InPlanePhaseEncodingDirection is OTHER"),
        ({"PercentSampling": -5.0}, "PercentSampling is not positive"),
        ({"PercentSampling": 0.1}, "no line of k-space"),
        ({"ScanOptions": "PFP"}, "partial Fourier"),
        ({"ScanOptions": ("FS", "PFF")}, "partial Fourier"),
        ({"PartialFourier": "YES", "PartialFourierDirection": "PHASE"}, "partial Fourier"),
        ({"GeometryOfKSpaceTraversal": "RADIAL"}, "GeometryOfKSpaceTraversal is RADIAL"),
    ],
)
def test_headers_that_do_not_tell_are_refused_with_the_option_to_give(changes, word):
    with pytest.raises(MedleyError, match=f"scan: .*{word}.*--measured ROWSxCOLUMNS"):
        measured_lines({**SQUARE, **changes}.get, (512, 512), (0.8, 0.8), "scan")


def test_a_series_knows_its_measured_lines(tmp_path, phantoms):
    def change(ds: Dataset, k: int) -> None:
        ds.AcquisitionMatrix, ds.InPlanePhaseEncodingDirection = [8, 0, 0, 6], "COL"

    phantoms.write_mr_series(tmp_path / "mr", change=change)
    assert open_scan(tmp_path / "mr").source.measured() == (6, 8)
    phantoms.write_mr_series(tmp_path / "silent", seed=1)
    with pytest.raises(MedleyError, match=r"005\.dcm: InPlanePhaseEncodingDirection is missing"):
        open_scan(tmp_path / "silent").source.measured()


def test_an_enhanced_image_says_it_in_functional_groups(tmp_path, phantoms):
    def change(ds: Dataset) -> None:
        geometry = Dataset()
        geometry.InPlanePhaseEncodingDirection = "COLUMN"
        geometry.MRAcquisitionFrequencyEncodingSteps, geometry.MRAcquisitionPhaseEncodingStepsInPlane = 8, 6
        ds.SharedFunctionalGroupsSequence[0].MRFOVGeometrySequence = [geometry]

    path = phantoms.write_enhanced(tmp_path / "e.dcm", phantoms.values((4, 12, 16), 0, 900), "MR", change=change)
    assert np.array_equal(open_scan(path).source.measured(), (6, 8))
