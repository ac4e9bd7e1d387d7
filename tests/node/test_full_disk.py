"""A full disk under the queue, on a small disk of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed (the extra pacs)")
ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]

PROGRAM = """
import sys
from pathlib import Path
from pydicom import dcmread
from medley.node.node import Node
from medley.node.receiver import OUT_OF_RESOURCES, SUCCESS, Receiver
from medley.node.settings import PacsSettings
from tests.node.made_node import FakeArchive, copy_files, send, states, step

settings = PacsSettings.model_validate_json(Path(sys.argv[1]).read_text())
files = sorted(Path(sys.argv[2]).iterdir())
archive = FakeArchive()
now = [1e9]
node = Node(
    settings, process=copy_files, explain=str, archives={"pacs": archive.connect}, clock=lambda: now[0], log=print
)
node.recover()
filler = settings.folder / "filler"
with Receiver(node.intake):
    assert send(node, files[:2]) == [SUCCESS] * 2
    with filler.open("wb", buffering=0) as full:
        try:
            while True:
                full.write(bytes(4096))
        except OSError:
            pass
    assert set(send(node, files[2:])) == {OUT_OF_RESOURCES}
    assert len(list(node.intake.folder.iterdir())) == 2
    filler.unlink()
    assert send(node, files[2:]) == [SUCCESS] * 3
now[0] += 500
step(node)
assert states(node) == ["done"], states(node)
assert len(archive.received) == 5
print("survived")
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare makes a small disk without privileges")
def test_a_full_disk_refuses_objects_and_loses_none(tmp_path, content, series):
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "pacs.json").write_text(json.dumps({**content, "folder": str(disk / "node")}))
    (tmp_path / "program.py").write_text(PROGRAM)
    mount = 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"'
    if subprocess.run([*NAMESPACE, "sh", "-c", mount, "sh", disk, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no small disk (tmpfs) without privileges")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, tmp_path / "program.py", tmp_path / "pacs.json", tmp_path / "scan"]
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", mount, "sh", disk, *command],
        capture_output=True, text=True, env=environment, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "survived" in done.stdout
