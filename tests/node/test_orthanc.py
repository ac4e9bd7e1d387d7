"""The node with a real PACS: Orthanc sends series, takes results by C-STORE and STOW-RS, and is asked for series."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from tests.node.made_node import SOCKETS, copy_files, free_port, wait_until

from medley.node.archives import connections, echo
from medley.node.node import Node
from medley.node.pull import Wanted, pull
from medley.node.receiver import Receiver
from medley.node.settings import PacsSettings

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
pytestmark = [
    pytest.mark.skipif(
        ORTHANC is None or not PLUGIN.exists(), reason="Orthanc is not installed (Debian: orthanc, orthanc-dicomweb)"
    ),
    SOCKETS,
]


class Orthanc:
    """An Orthanc that only this machine may use, with the node as its only DICOM peer."""

    def __init__(self, folder: Path, node_port: int) -> None:
        self.port, self.http = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        folder.mkdir()
        settings = {
            "Name": "test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
            "DicomAet": "ORTHANC", "DicomPort": self.port, "HttpPort": self.http, "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "DicomCheckModalityHost": True, "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False, "DicomModalities": {"node": ["MEDLEY", "127.0.0.1", node_port]},
            "Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "ConcurrentJobs": 2,
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=self._log, stderr=self._log)

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/system", timeout=5).ok
        except requests.RequestException:
            return False

    def store(self, files: list[Path]) -> str:
        """Put files into it; returns its identifier of their series."""
        return [requests.post(f"{self.url}/instances", file.read_bytes(), timeout=60).json() for file in files][-1][
            "ParentSeries"
        ]

    def send_to_node(self, series: str) -> None:
        done = requests.post(f"{self.url}/modalities/node/store", series, timeout=60)
        assert done.ok, done.text
        assert done.json()["FailedInstancesCount"] == 0

    def instances(self) -> list[str]:
        """SOP instance UIDs of all objects."""
        found = requests.get(f"{self.url}/instances?expand", timeout=60).json()
        return sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in found)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


@pytest.fixture
def orthanc(tmp_path, content):
    one = Orthanc(tmp_path / "orthanc", content["port"])
    try:
        wait_until(one.answers, 60)
        yield one
    finally:
        one.stop()


@pytest.fixture(params=["dicom", "web"])
def settings(request, content, orthanc) -> PacsSettings:
    """A configuration whose archive is Orthanc."""
    dicom = {"ae_title": "ORTHANC", "address": "127.0.0.1", "port": orthanc.port}
    archives = (
        {"pacs": {"dicom": dicom}}
        if request.param == "dicom"
        else {"pacs": {"web": {"url": f"{orthanc.url}/dicom-web"}}}
    )
    peers = [{"ae_title": "ORTHANC", "address": "127.0.0.1"}]
    return PacsSettings.model_validate({**content, "archives": archives, "peers": peers})


@pytest.fixture
def orthanc_node(settings, clock):
    lines: list[str] = []
    node = Node(
        settings, process=copy_files, explain=str, archives=connections(settings), clock=clock, log=lines.append
    )
    node.lines = lines
    node.recover()
    return node


def turn(node):
    node.worker.close_complete()
    node.worker.process_next()
    node.delivery.send_due()


def test_a_series_comes_from_orthanc_and_the_result_returns_once(orthanc, orthanc_node, series, clock):
    node = orthanc_node
    with Receiver(node.intake):
        orthanc.send_to_node(orthanc.store(series))
        clock.pass_(500)
        turn(node)
        assert [entry.state for entry in node.queue.entries()] == ["done"], node.lines
        assert len(orthanc.instances()) == 10
        # Uncertain whether the results have arrived: Orthanc is asked, and nothing is sent again.
        with node.queue._database.transaction() as database:
            database.execute("UPDATE results SET state = 'sending'")
            database.execute("UPDATE series SET state = 'sending'")
        before = requests.get(f"{orthanc.url}/changes?last", timeout=60).json()["Last"]
        turn(node)
        assert [entry.state for entry in node.queue.entries()] == ["done"], node.lines
        assert requests.get(f"{orthanc.url}/changes?last", timeout=60).json()["Last"] == before
        # The result of the node comes back, as where Orthanc forwards all it gets; no rule selects it.


def test_an_orthanc_that_is_down_loses_nothing(orthanc, orthanc_node, series, clock):
    node = orthanc_node
    with Receiver(node.intake):
        orthanc.send_to_node(orthanc.store(series))
    clock.pass_(500)
    orthanc.stop()
    turn(node)
    assert [entry.state for entry in node.queue.entries()] == ["sending"]
    assert "tried again in 30 seconds" in node.lines[-1]
    assert node.queue.due(clock()) == []


def test_pull(orthanc, orthanc_node, series, clock):
    node = orthanc_node
    orthanc.store(series)
    uids = requests.get(f"{orthanc.url}/studies?expand", timeout=60).json()[0]["MainDicomTags"]
    pulled = pull(node.intake, "pacs", Wanted(study=uids["StudyInstanceUID"], modality="CT"))
    assert (pulled.series, pulled.objects, pulled.failed) == (1, 5, 0)
    turn(node)  # the number of objects is known, so that no waiting is needed
    assert [entry.state for entry in node.queue.entries()] == ["done"], node.lines
    assert len(orthanc.instances()) == 10


def test_echo(orthanc, content):
    archive = PacsSettings.model_validate(
        {
            **content,
            "archives": {"pacs": {"dicom": {"ae_title": "ORTHANC", "address": "127.0.0.1", "port": orthanc.port}}},
        }
    ).archives["pacs"]
    assert echo(archive.dicom, "MEDLEY")
    assert not echo(archive.dicom, "STRANGER")
