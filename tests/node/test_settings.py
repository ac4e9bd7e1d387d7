"""The configuration of the node."""

import pytest
import yaml

from medley.errors import MedleyError
from medley.inference.plan import RestoreOptions
from medley.node.settings import Options, PacsSettings, Peer, read_settings


@pytest.fixture
def write(tmp_path, content):
    def write(**changes):
        path = tmp_path / "pacs.yaml"
        path.write_text(yaml.safe_dump({**content, **changes}))
        return path

    return write


def test_the_options_of_a_rule_are_those_of_a_restoration():
    assert set(Options.model_fields) == set(RestoreOptions.__annotations__)


RULE = {"model": "slab", "modality": "CT", "send_to": ["pacs"]}
DICOM = {"ae_title": "A", "address": "127.0.0.1", "port": 104}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"foldr": "x"}, "foldr: unknown key; did you mean 'folder'"),
        ({"limits": {"pdu_sise": 1}}, "limits.pdu_sise: unknown key; did you mean 'pdu_size'"),
        ({"rules": [{**RULE, "modalty": "CT"}]}, "rules.0.modalty: unknown key; did you mean 'modality'"),
        ({"rules": [{**RULE, "options": {"strenght": 1}}]}, "strenght: unknown key; did you mean 'strength'"),
        ({"archives": {"pacs": {"dicom": {**DICOM, "prot": 1}}}}, "dicom.prot: unknown key; did you mean 'port'"),
        ({"tls": {"certificat": "x"}}, "tls.certificat: unknown key; did you mean 'certificate'"),
        ({"rules": [{**RULE, "send_to": ["pasc"]}]}, "there is no archive 'pasc'; did you mean 'pacs'"),
        ({"archives": {"pacs": {}}}, "expected either dicom or web"),
        ({"archives": {"../x": {"dicom": DICOM}}}, "cannot be used as a file name"),
        ({"ae_title": "seventeen letters"}, "an AE title has 1 to 16"),
        ({"peers": [{"ae_title": "A", "address": "scanner"}]}, "not an IP address or a network"),
        ({"peers": []}, "peers: "),
        ({"port": 0}, "port: "),
    ],
)
def test_a_wrong_key_or_value_is_one_sentence(write, changes, message):
    with pytest.raises(MedleyError) as error:
        read_settings(write(**changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_sizes_have_units_and_paths_are_relative_to_the_file(write, tmp_path):
    settings = read_settings(write(folder="queue", limits={"object_size": "3 GB"}))
    assert settings.limits.object_size == 3_000_000_000
    assert settings.folder == tmp_path / "queue"
    assert settings.rules[0].model == "slab"


@pytest.mark.parametrize(
    ("network", "address", "inside"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.2.0/24", "10.1.2.200", True),
        ("10.1.2.0/24", "::ffff:10.1.2.200", True),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "10.1.2.3", False),
    ],
)
def test_addresses_of_peers(network, address, inside):
    assert Peer(ae_title="A", address=network).is_at(address) is inside


def test_defaults_are_valid():
    assert PacsSettings.model_validate(
        {
            "folder": "x", "peers": [{"ae_title": "A", "address": "127.0.0.1"}], "rules": [RULE],
            "archives": {"pacs": {"dicom": DICOM}},
        }
    ).address == "127.0.0.1"  # fmt: skip
