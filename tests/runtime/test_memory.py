from pathlib import Path

import pytest

from medley.runtime import memory


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system that has 8 GB free, and no container."""
    (tmp_path / "meminfo").write_text("MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\nHugePages_Free: 0\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    versions = [(tmp_path / Path(folder).name, *names) for folder, *names in memory._CGROUPS]
    monkeypatch.setattr(memory, "_CGROUPS", versions)
    return versions


def contain(cgroup, limit: str, used: int, cache: int) -> None:
    folder, *names = cgroup
    folder.mkdir()
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")


def test_the_free_memory_of_the_system(system):
    assert memory.free_memory() == 8_192_000_000


@pytest.mark.parametrize("version", [0, 1])
def test_a_container_can_have_less(system, version):
    contain(system[version], "1000000", used=700_000, cache=200_000)
    assert memory.free_memory() == 500_000


@pytest.mark.parametrize(("limit", "version"), [("max", 0), ("9223372036854771712", 1)])
def test_a_container_without_a_limit_has_the_memory_of_the_system(system, limit, version):
    contain(system[version], limit, used=1, cache=0)
    assert memory.free_memory() == 8_192_000_000


def test_a_container_that_is_full_has_nothing(system):
    contain(system[0], "1000", used=2000, cache=10)
    assert memory.free_memory() == 0


def test_a_system_that_does_not_say(system, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "not there")
    monkeypatch.setattr(memory.os, "sysconf", lambda _: (_ for _ in ()).throw(ValueError()), raising=False)
    assert memory.free_memory() is None


def test_the_number_of_this_system_is_plausible():
    free = memory.free_memory()
    assert free is None or 0 <= free < 2**60
