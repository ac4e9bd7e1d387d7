"""Names of structures: TG-263 and common variants, tables of a user, and what is ambiguous."""

from pathlib import Path

import pytest

from medley.data.layouts.structure_names import StructureNames, mirrored_pairs, read_structure_names, standard_structure
from medley.errors import MedleyError

OPENKBP = (
    "Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible",
    "PTV56", "PTV63", "PTV70",
)  # fmt: skip


class Drawn(dict):
    """What `named` uses of the structures of a file."""

    def __init__(self, *names: str, **interpreted: str) -> None:
        super().__init__()
        self.path = Path("RS.dcm")
        self.interpreted = dict.fromkeys(names, "") | interpreted


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("Brainstem", "Brainstem"), ("BRAIN_STEM", "Brainstem"), ("brain stem", "Brainstem"),
        ("SpinalCord", "SpinalCord"), ("Spinal_Cord", "SpinalCord"), ("Cord", "SpinalCord"),
        ("Parotid_L", "LeftParotid"), ("Parotid_R", "RightParotid"), ("Parotid Lt", "LeftParotid"),
        ("parotid_l", "LeftParotid"),
        ("Esophagus", "Esophagus"), ("Oesophagus", "Esophagus"), ("Larynx", "Larynx"),
        ("Bone_Mandible", "Mandible"), ("Mandible", "Mandible"),
        ("PTV_7000", "PTV70"), ("PTV_6996", "PTV70"), ("PTV70", "PTV70"), ("PTV 70 Gy", "PTV70"), ("ptv_70.0", "PTV70"),
        ("PTV_6300cGy", "PTV63"), ("PTV_5600", "PTV56"),
        ("PTV_High", "PTV70"), ("PTV_Mid", "PTV63"), ("PTV_Low", "PTV56"),
    ],
)  # fmt: skip
def test_standard_names_are_understood(name, structure):
    assert standard_structure(name, OPENKBP) == structure


@pytest.mark.parametrize(
    "name",
    [
        "Parotids", "Parotid", "SpinalCord_PRV05", "SpinalCord_05", "~Brainstem", "Brainstem^Old", "zBrainstem",
        "PTV_6000", "PTV_Eval", "PTV_7000-03", "PTV_7000-Parotid_L", "Parotid_L-PTV", "PTV", "PTV1", "CTV_7000", "GTV",
        "Rectum", "Heart", "", "?", "Ring_PTV70",
    ],
)  # fmt: skip
def test_other_structures_are_not_mistaken_for_known_ones(name):
    assert standard_structure(name, OPENKBP) is None


def test_levels_need_more_than_one_target():
    assert standard_structure("PTV_High", ("PTV70", "Rectum")) is None
    assert standard_structure("PTV_Mid", ("PTV56", "PTV70")) is None


def test_structures_of_the_file_get_the_names_of_the_network():
    drawn = Drawn("PTV_7000", "Parotid_L", "z_ring", BODY="EXTERNAL")
    names = StructureNames(standard=OPENKBP).named(drawn)
    assert names == {"PTV70": "PTV_7000", "LeftParotid": "Parotid_L", "body": "BODY"}


def test_the_exact_name_wins_and_two_similar_names_are_refused():
    names = StructureNames(standard=OPENKBP)
    assert names.named(Drawn("PTV_6996", "PTV 70")) == {"PTV70": "PTV 70"}
    with pytest.raises(MedleyError, match="both 'PTV_6996' and 'PTV_7000' mean PTV70; give a table"):
        names.named(Drawn("PTV_6996", "PTV_7000"))


def test_a_table_decides_alone(tmp_path):
    table = tmp_path / "names.csv"
    table.write_text("name,structure\nboost*,PTV70\nParotid_L,\n*cord*,SpinalCord\n")
    names = read_structure_names(table)
    drawn = Drawn("Boost 2", "Parotid_L", "Cord", "Larynx")
    assert names.named(drawn) == {"PTV70": "Boost 2", "SpinalCord": "Cord"}
    with pytest.raises(MedleyError, match=r"both 'Cord' and 'cord 2' mean SpinalCord according to .*names\.csv"):
        names.named(Drawn("Cord", "cord 2"))


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(MedleyError, match=r"none\.csv: does not exist; create a CSV .* mean$"):
        read_structure_names(tmp_path / "none.csv")


def test_pairs_of_mirrored_names():
    assert mirrored_pairs(OPENKBP) == (("LeftParotid", "RightParotid"),)
