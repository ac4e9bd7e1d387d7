"""`medley pacs`: the real networks on received series, and the commands for the queue."""

import json
import re

import pytest
import yaml

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed (the extra pacs)")

from pydicom import dcmread

from medley.apps.pacs import processor
from medley.errors import MedleyError
from medley.io.dicom.provenance import MAKER
from medley.node.header import read_received
from medley.node.queue import Queue
from medley.node.settings import Rule

ONE = "1.2.3"


@pytest.fixture
def config(tmp_path):
    content = {
        "folder": "node",
        "peers": [{"ae_title": "SCANNER", "address": "127.0.0.1"}],
        "rules": [{"model": "slab", "modality": "CT", "send_to": ["pacs"]}],
        "archives": {"pacs": {"dicom": {"ae_title": "A", "address": "127.0.0.1", "port": 1}}},
    }
    (tmp_path / "pacs.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "pacs.yaml"


def test_a_restorer_writes_a_series_that_the_node_recognises_as_its_own(model, ct_series, tmp_path):
    rule = Rule(model=str(model), modality="CT", send_to=("pacs",), options={"strength": 0.5})
    processor("cpu")(ct_series, tmp_path / "out", rule)
    files = sorted((tmp_path / "out").glob("*.dcm"))
    assert len(files) == 4
    for file in files:
        one = dcmread(file)
        assert "strength 0.5" in one.SeriesDescription
        assert MAKER in {item.Manufacturer for item in one.ContributingEquipmentSequence}
        assert read_received(file).derived
        assert not rule.fits(read_received(file), "SCANNER", 4)


def test_an_object_without_pixel_data_fails_with_a_sentence(model, ct_series, tmp_path):
    for file in ct_series.iterdir():
        one = dcmread(file)
        del one.PixelData
        one.save_as(file)
    rule = Rule(model=str(model), modality="CT", send_to=("pacs",))
    with pytest.raises(MedleyError, match=r"(?i)pixel"):
        processor("cpu")(ct_series, tmp_path / "out", rule)
    assert not (tmp_path / "out").exists()


def test_list_retry_and_discard(medley, config, tmp_path):
    from medley.node.header import Received

    queue = Queue(tmp_path / "node")
    for number in (1, 2):
        queue.add(Received("1", f"1.{number}", ONE, "1.2"), "SCANNER", f"{number}.dcm", "a", 0.0)
        queue.set_aside(number, "there is a gap", 1.0)
    shown = medley("pacs", "list", "--config", config)
    assert shown.code == 0
    assert re.search(r"1 +aside +1 .*there is a gap", shown.out)
    assert medley("pacs", "retry", "--config", config, "1").err == "series 1: ready\n"
    assert medley("pacs", "discard", "--config", config, "2").code == 0
    rows = json.loads(medley("pacs", "list", "--json", "--config", config).out)
    assert [row["state"] for row in rows] == ["ready", "skipped"]
    refused = medley("pacs", "retry", "--config", config, "7")
    assert (refused.code, refused.err) == (1, "error: series 7 is not aside; medley pacs list shows its state\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "needs a configuration"),
        (["--config", "absent.yaml"], 1, "absent.yaml cannot be read"),
        (["pull", "--config", "{config}", "--from", "pacs"], 1, "Give --study, --patient, --accession or --date"),
        (["pull", "--config", "{config}", "--from", "psac", "--study", "1"], 1, "there is no archive 'psac'"),
        (["pull", "--config", "{config}", "--from", "pacs", "--study", "1"], 1, "the archive pacs: no connection"),
    ],
)
def test_wrong_usage_is_one_sentence(medley, config, arguments, code, message):
    done = medley("pacs", *(one.format(config=config) for one in arguments))
    assert done.code == code
    assert message in " ".join(done.err.replace("│", " ").split())
