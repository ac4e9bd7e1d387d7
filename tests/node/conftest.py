"""A node whose clock, network and archive are in the hands of the test."""

import gc
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def close_sockets():
    """pynetdicom, where it is the client, leaves the sockets of rejected associations to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def content(tmp_path) -> dict:
    """Keys and values of a configuration."""
    from tests.node.made_node import SCANNER, free_port

    return {
        "folder": str(tmp_path / "node"),
        "port": free_port(),
        "peers": [{"ae_title": SCANNER, "address": "127.0.0.1"}],
        "limits": {"free_disk": 0, "idle_seconds": 30, "object_size": 2_000_000, "associations": 3},
        "rules": [{"model": "slab", "modality": "CT", "send_to": ["pacs"]}],
        "archives": {"pacs": {"dicom": {"ae_title": "ARCHIVE", "address": "127.0.0.1", "port": 104}}},
    }


@pytest.fixture
def clock():
    from tests.node.made_node import Clock

    return Clock()


@pytest.fixture
def archive():
    from tests.node.made_node import FakeArchive

    return FakeArchive()


@pytest.fixture
def make_node(content, clock, archive) -> Callable:
    """Makes a node on the same folder, with the lines of its log in `node.lines`."""
    from tests.node.made_node import copy_files

    from medley.node.node import Node
    from medley.node.settings import PacsSettings

    def make(process=None, **changes):
        lines: list[str] = []
        node = Node(
            PacsSettings.model_validate({**content, **changes}),
            process=process or copy_files,
            explain=str,
            archives={"pacs": archive.connect},
            clock=clock,
            log=lines.append,
        )
        node.lines = lines
        node.recover()
        return node

    return make


@pytest.fixture
def node(make_node):
    return make_node()


@pytest.fixture
def series(tmp_path, phantoms) -> list[Path]:
    """A CT of five slices."""
    return phantoms.write_ct_series(tmp_path / "scan")
