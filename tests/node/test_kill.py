"""kill -9 in every state of the queue: nothing is lost, and nothing is sent twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.node.kill import METHODS
from tests.node.made_node import SOCKETS, send, states

from medley.node.receiver import Receiver

pytestmark = [SOCKETS, pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a signal of POSIX")]
ROOT = Path(__file__).resolve().parents[2]
DEATHS = [(method, moment) for method in METHODS for moment in ("before", "after")]
DEATHS += [("", "processing"), ("", "arrived")]


def run(config: Path, method: str, moment: str) -> int:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    arguments = [sys.executable, str(ROOT / "tests" / "node" / "kill.py"), str(config), method, moment]
    return subprocess.run(arguments, env=environment, capture_output=True, timeout=120, check=False).returncode


@pytest.fixture
def received(node, content, series, phantoms, tmp_path):
    """The configuration of a node that has received a CT, which a rule selects, and an MR, which none does."""
    with Receiver(node.intake):
        other = phantoms.write_mr_series(tmp_path / "other", (2, 8, 8))
        assert send(node, [*series, *other]) == [0] * 7
    (tmp_path / "pacs.json").write_text(json.dumps(content))
    return tmp_path / "pacs.json"


@pytest.mark.parametrize(("method", "moment"), DEATHS)
def test_a_killed_node_loses_nothing_and_sends_nothing_twice(node, received, method, moment):
    assert run(received, method, moment) == -signal.SIGKILL
    assert run(received, "", "never") == 0
    assert states(node) == ["done", "skipped"]
    sent = sorted((node.settings.folder / "archive").iterdir())
    assert len(sent) == 5
    assert {one.suffix for one in sent} == {".1"}  # each once
    assert len(list((node.settings.folder / "results" / "1").iterdir())) == 5
    assert {one.name for one in (node.settings.folder / "objects").iterdir()} == node.queue.files()


def test_a_node_that_is_killed_again_and_again_ends_its_work(node, received):
    codes = [run(received, "", "arrived") for _ in range(6)]
    assert codes == [-signal.SIGKILL] * 5 + [0]  # one death after each of the five objects has arrived
    assert states(node) == ["done", "skipped"]
    assert {one.suffix for one in (node.settings.folder / "archive").iterdir()} == {".1"}
