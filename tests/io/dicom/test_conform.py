"""Errors of unusual sources are not repeated: what is required is there, what must not be there is gone."""

import pytest
from pydicom import dcmread

from medley.errors import MedleyNotice
from medley.io.files import read, write


def first_of(folder):
    return dcmread(min(folder.iterdir()))


def test_a_missing_frame_of_reference_is_made_the_same_for_all_results(tmp_path, phantoms):
    def forget(ds, k):
        del ds.FrameOfReferenceUID

    phantoms.write_mr_series(tmp_path / "mr", change=forget)
    for name in ("one", "two"):
        write(read(tmp_path / "mr"), tmp_path / name)
    found = {dcmread(file).FrameOfReferenceUID for name in ("one", "two") for file in (tmp_path / name).iterdir()}
    assert len(found) == 1
    assert found != {""}


@pytest.mark.parametrize(
    ("part", "side", "expected"),
    [("CHEST", "", None), ("KNEE", "R", "R"), ("KNEE", None, ""), (None, None, ""), ("CHEST", None, None)],
)
def test_laterality_is_absent_where_there_is_no_side_and_empty_where_it_is_unknown(
    tmp_path, phantoms, part, side, expected
):
    def state(ds, k):
        if part is not None:
            ds.BodyPartExamined = part
        if side is not None:
            ds.Laterality = side

    phantoms.write_ct_series(tmp_path / "ct", change=state)
    write(read(tmp_path / "ct"), tmp_path / "out")
    assert first_of(tmp_path / "out").get("Laterality") == expected


def test_pet_states_the_position_of_the_patient_in_codes(tmp_path, phantoms):
    def place(ds, k):
        ds.PatientPosition, ds.NumberOfTimeSlices = "FFDL", 5

    phantoms.write_pet_series(tmp_path / "pet", change=place)
    write(read(tmp_path / "pet"), tmp_path / "out")
    new = first_of(tmp_path / "out")
    assert "PatientPosition" not in new
    assert "NumberOfTimeSlices" not in new
    (orientation,) = new.PatientOrientationCodeSequence
    assert orientation.CodeMeaning == "recumbent"
    assert orientation.PatientOrientationModifierCodeSequence[0].CodeMeaning == "left lateral decubitus"
    assert new.PatientGantryRelationshipCodeSequence[0].CodeMeaning == "feet-first"


def test_values_that_the_standard_forbids_are_left_out_with_a_notice_and_texts_stay(tmp_path, phantoms):
    def spoil(ds, k):
        ds.PatientID, ds.PatientName = "pseudonym 1/2", "no caret at all"
        ds.PatientAge, ds.BodyPartExamined, ds.StudyDate = "030Y", "CHEST", "20240102"

    for file in phantoms.write_ct_series(tmp_path / "ct", change=spoil):
        content = file.read_bytes()
        for old, new in ((b"030Y", b"30 Y"), (b"CHEST ", b"chest "), (b"20240102", b"2024/1/2")):
            assert old in content
            content = content.replace(old, new)
        file.write_bytes(content.replace(b"\x10\x00\x40\x00CS\x02\x00M ", b"\x10\x00\x40\x00CS\x02\x00m "))
    with pytest.warns(MedleyNotice) as notices:
        write(read(tmp_path / "ct"), tmp_path / "out")
    new = first_of(tmp_path / "out")
    assert (new.StudyDate, new.PatientSex) == ("", "")  # required, so empty
    assert "PatientAge" not in new
    assert "BodyPartExamined" not in new
    assert (new.PatientID, new.PatientName) == ("pseudonym 1/2", "no caret at all")
    left_out = [str(notice.message).split(": ")[1].split(" is ")[0] for notice in notices]
    assert sorted(left_out) == ["BodyPartExamined", "PatientAge", "PatientSex", "StudyDate"]
