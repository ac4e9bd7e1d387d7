import os
import signal
import subprocess
import sys

import pytest

from medley.errors import MedleyError
from medley.runtime import locks
from medley.runtime.locks import is_empty, locked

HOLD = """
import sys
from pathlib import Path
from medley.runtime.locks import locked
with locked(Path(sys.argv[1]), "training"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of a folder until its input ends."""
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdin=-1, stdout=-1, text=True)
    assert process.stdout.readline() == "locked\n"
    yield folder, process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_in_one_sentence(holder):
    folder, process = holder
    with pytest.raises(MedleyError) as refused, locked(folder, "training"):
        pass
    assert str(refused.value).startswith(f"{folder}: is in use by another medley (process {process.pid}, training)")
    assert "\n" not in str(refused.value)


def test_the_lock_of_a_killed_process_is_free(holder):
    folder, process = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [one.name for one in folder.iterdir()] == [locks.LOCK]
    with locked(folder, "training"):
        assert is_empty(folder)


def test_the_lock_is_free_after_use_and_the_folder_clean(holder):
    folder, process = holder
    process.communicate("")
    assert not folder.exists()  # nothing was put into it
    with locked(folder, "preparing"):
        (folder / "result").touch()
        assert not is_empty(folder)
    assert [one.name for one in folder.iterdir()] == ["result"]


def test_a_second_thread_or_call_of_this_process_is_refused_too(tmp_path):
    with locked(tmp_path, "training"):
        with pytest.raises(MedleyError, match=f"process {os.getpid()}"), locked(tmp_path, "training"):
            pass
        assert (tmp_path / locks.LOCK).exists()


def test_an_error_releases_the_lock(tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError, match="work"), locked(tmp_path / "run", "training"):
            raise ValueError("work failed")


def test_a_lock_file_that_was_removed_before_it_was_locked_is_not_trusted(tmp_path, monkeypatch):
    real, calls = locks.fcntl.flock, []

    def remove_first(handle, operation):
        if not calls:
            (tmp_path / locks.LOCK).unlink()
        calls.append(handle)
        real(handle, operation)

    monkeypatch.setattr(locks.fcntl, "flock", remove_first)
    with locked(tmp_path, "training"):
        assert (tmp_path / locks.LOCK).exists()
    assert len(calls) == 2


def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(MedleyError, match="file/run: training is not possible there"),
        locked(tmp_path / "file" / "run", "training"),
    ):
        pass
