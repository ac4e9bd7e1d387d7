"""What a derived series keeps of its source: nothing hidden in sequences, and no invalid numbers."""

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from medley.errors import MedleyNotice
from medley.io.files import read, write


def headers(folder):
    return [dcmread(file) for file in sorted(folder.iterdir())]


def code_item():
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "SCT", "Head"
    item.PatientComments = item.TextValue = "private words"
    item.ReferencedPatientSequence = [Dataset()]
    item.ReferencedPatientSequence[0].PatientName = "private^words"
    return item


@pytest.mark.parametrize(
    ("modality", "keyword"),
    [
        ("CT", "AnatomicRegionSequence"),
        ("CT", "DeidentificationMethodCodeSequence"),
        ("PT", "RadiopharmaceuticalInformationSequence"),
        ("PT", "EnergyWindowRangeSequence"),
        ("PT", "PatientOrientationCodeSequence"),
        ("PT", "PatientGantryRelationshipCodeSequence"),
    ],
)
def test_free_text_inside_of_sequences_stays_behind(tmp_path, phantoms, modality, keyword):
    def comment(ds, k):
        item = (ds.get(keyword) or [code_item()])[0]
        for element in code_item():
            item[element.tag] = element
        setattr(ds, keyword, [item])
        if modality == "PT":
            nested = ds.RadiopharmaceuticalInformationSequence[0]
            nested.RadionuclideCodeSequence = [code_item()]

    write_series = phantoms.write_ct_series if modality == "CT" else phantoms.write_pet_series
    write_series(tmp_path / "scan", change=comment)
    write(read(tmp_path / "scan"), tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        assert b"private" not in file.read_bytes()
        assert dcmread(file)[keyword].value[0].CodeMeaning == "Head"
    read(tmp_path / "out")


@pytest.mark.parametrize(
    ("keyword", "text", "replaced"),
    [("WindowCenter", b"40.00", b"40,00"), ("WindowWidth", b"400.0", b"400,0"), ("TableHeight", b"120.0", b"12O,0")],
)
def test_an_invalid_number_in_an_optional_tag_is_left_out_with_a_notice(tmp_path, phantoms, keyword, text, replaced):
    def set_numbers(ds, k):
        ds.WindowCenter, ds.WindowWidth, ds.TableHeight = "40.00", "400.0", "120.0"

    files = phantoms.write_ct_series(tmp_path / "ct", change=set_numbers)
    for file in files[1:4]:
        content = file.read_bytes()
        assert content.count(text)
        file.write_bytes(content.replace(text, replaced))
    with pytest.warns(MedleyNotice, match=f"{keyword} is '{replaced.decode().strip()}', which is not valid") as found:
        write(read(tmp_path / "ct"), tmp_path / "out")
    assert len([one for one in found if one.category is MedleyNotice]) == 1
    assert sum(bool(one.get(keyword)) for one in headers(tmp_path / "out")) == 2
