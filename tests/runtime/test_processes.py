import os
import re
import subprocess
import sys

import pytest

from medley.runtime import processes
from medley.runtime.processes import TOKEN, owner_is_dead, owner_token

SHOW = "from medley.runtime.processes import owner_token; print(owner_token())"


def test_this_process_is_alive():
    assert re.fullmatch(TOKEN, owner_token())
    assert not owner_is_dead(owner_token())


def test_a_process_that_has_ended_is_dead():
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    assert owner_is_dead(done.stdout.strip())


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="start times of processes are read from /proc")
def test_another_process_with_the_same_number_is_distinguished():
    host, pid, start = owner_token().split("-")
    assert owner_is_dead(f"{host}-{pid}-{int(start) - 1}")


def test_processes_of_other_hosts_and_other_names_are_left_alone():
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    _, pid, start = done.stdout.strip().split("-")
    for token in (f"000000-{pid}-{start}", "", "notes", "a-b-c", "1-2", f"{owner_token()}-x"):
        assert not owner_is_dead(token)


def test_without_proc_the_process_number_decides(monkeypatch):
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    monkeypatch.setattr(processes, "_start_time", lambda pid: None)
    monkeypatch.setattr(processes.Path, "exists", lambda path: False)
    assert not owner_is_dead(owner_token())
    assert owner_is_dead(done.stdout.strip())
