"""Damaged files of every kind: a volume, or one sentence; never another exception, a crash, or an absurd volume."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")
COUNT = 300  # mutants; `python tests/fuzz/run.py --count 10000` for many


def run(*arguments):
    return subprocess.run([sys.executable, RUN, *arguments], capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
def test_mutants_of_every_kind_are_read_or_refused_with_one_sentence(tmp_path):
    done = run("--count", str(COUNT), "--output", str(tmp_path / "fuzz.csv"))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (tmp_path / "fuzz.csv").read_text().splitlines()
    assert rows[-1].startswith(f"all,{COUNT},")


@pytest.mark.parametrize("fault", ["raw exception", "absurd", "changed", "process death"])
def test_every_fault_is_noticed(fault):
    count = "3" if fault == "process death" else "30"  # each death costs a new process
    done = run("--count", count, "--kinds", f"always: {fault}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f": {fault}: " in done.stdout
