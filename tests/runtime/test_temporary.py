import gc
import os
import signal
import stat
import subprocess
import sys
import tempfile

import pytest

from medley.errors import MedleyError
from medley.runtime.temporary import TemporaryFolder, remove_abandoned

HOLD = """
import sys
from medley.runtime.signals import raise_on_termination
from medley.runtime.temporary import TemporaryFolder
raise_on_termination()
folder = TemporaryFolder()
(folder.path / "patient.dcm").touch()
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    tempfile.tempdir = None


@pytest.fixture
def holder(place):
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=-1, stdout=-1, stderr=-1, text=True)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_the_folder_is_private_and_removed(place):
    with TemporaryFolder() as folder:
        (folder / "a").mkdir()
        (folder / "a" / "b").touch()
        assert folder.parent == place
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_dropped_folder_is_removed(place):
    folder = TemporaryFolder()
    path = folder.path
    del folder
    gc.collect()
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_removes_the_folder(place, holder, number):
    holder.send_signal(number)
    holder.communicate()
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_kept(place, holder):
    (place / "medley-notes").mkdir()
    (place / "medley-0a1b2c-1-1-12345678").touch()
    with TemporaryFolder() as ours:
        assert remove_abandoned() == []
        holder.kill()
        holder.wait()
        [removed] = remove_abandoned()
        assert not removed.exists()
        assert ours.exists()
    assert sorted(one.name for one in place.iterdir()) == ["medley-0a1b2c-1-1-12345678", "medley-notes"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_child_does_not_remove_the_folder_of_its_parent(place):
    code = """if True:
        import os, sys
        from medley.runtime.temporary import TemporaryFolder
        folder = TemporaryFolder()
        child = os.fork()
        if not child:
            folder.remove()
            sys.exit()
        os.waitpid(child, 0)
        assert folder.path.exists()
    """
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(place.iterdir()) == []


def test_no_place_for_temporary_files_is_one_sentence(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place / "missing"))
    with pytest.raises(MedleyError, match="a temporary folder cannot be made: No such file"):
        TemporaryFolder()
    assert remove_abandoned() == []
