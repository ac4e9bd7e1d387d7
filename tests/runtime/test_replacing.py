"""The writer of files and folders: competing, killed and refused processes, permissions."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medley.errors import MedleyError, MedleyNotice
from medley.runtime import atomic
from medley.runtime.atomic import mode_of, remove_leftovers, replacing, writing
from medley.runtime.processes import owner_token

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and processes of POSIX systems")
KINDS = pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])


def fill(path: Path, folder: bool, text: str = "new") -> None:
    if folder:
        (path / "deep").mkdir(parents=True)
        path = path / "deep" / "file"
    path.write_text(text)


def content(path: Path) -> str:
    return (path / "deep" / "file" if path.is_dir() else path).read_text()


def dead_token() -> str:
    code = "from medley.runtime.processes import owner_token; print(owner_token())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@KINDS
def test_the_temporary_path_has_the_same_name_and_nothing_else_stays(tmp_path, folder):
    path = tmp_path / "new" / "out.nii.gz"
    with replacing(path, folder=folder) as temporary:
        assert temporary.name == path.name
        assert not path.exists()
        fill(temporary, folder)
        (temporary.parent / "sidecar").touch()
    assert content(path) == "new"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@KINDS
@pytest.mark.parametrize("length", [200, 250])
def test_long_names_are_no_problem(tmp_path, folder, length):
    with replacing(tmp_path / ("x" * length), folder=folder) as temporary:
        fill(temporary, folder)
    assert content(tmp_path / ("x" * length)) == "new"


@KINDS
@pytest.mark.parametrize("links", [True, False])
def test_of_two_writers_of_one_path_the_second_is_refused(tmp_path, folder, links, monkeypatch):
    if not links:
        monkeypatch.setattr(atomic.os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
    path = tmp_path / "out"
    with pytest.raises(MedleyError, match="out: exists already"), replacing(path, folder=folder) as late:  # noqa: PT012
        fill(late, folder, "late")
        with replacing(path, folder=folder) as early:
            fill(early, folder, "early")
    assert content(path) == "early"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@KINDS
def test_a_name_that_another_kind_of_thing_took_is_refused(tmp_path, folder):
    path = tmp_path / "out"
    with pytest.raises(MedleyError, match="out: exists already"), replacing(path, folder=folder) as temporary:  # noqa: PT012
        fill(temporary, folder)
        fill(path, not folder, "other")
    assert content(path) == "other"


@posix
@pytest.mark.parametrize("folder", [False, True])
def test_of_two_processes_that_write_one_path_one_succeeds(tmp_path, folder):
    code = """if True:
        import sys
        from pathlib import Path
        from medley.errors import MedleyError
        from medley.runtime.atomic import replacing
        folder = sys.argv[2] == "True"
        try:
            with replacing(Path(sys.argv[1]) / "out", folder=folder) as temporary:
                if folder:
                    temporary.mkdir()
                (temporary / "file" if folder else temporary).write_text("x" * 1000)
                print("ready", flush=True)
                sys.stdin.readline()
        except MedleyError as error:
            sys.exit(3)
    """
    start = [sys.executable, "-c", code, tmp_path, str(folder)]
    both = [subprocess.Popen(start, stdin=-1, stdout=-1, text=True) for _ in range(2)]
    for one in both:
        assert one.stdout.readline() == "ready\n"
    for one in both:
        one.stdin.write("\n")
        one.stdin.flush()
    for one in both:
        one.communicate()
    assert sorted(one.returncode for one in both) == [0, 3]
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@KINDS
def test_an_empty_folder_counts_as_nothing_for_a_folder_only(tmp_path, folder):
    (tmp_path / "out").mkdir()
    if folder:
        with replacing(tmp_path / "out", folder=True) as temporary:
            fill(temporary, folder)
        assert content(tmp_path / "out") == "new"
    else:
        with pytest.raises(MedleyError, match="is a folder already"), replacing(tmp_path / "out"):
            pass


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("source", [0o600, 0o640, 0o644, 0o444, None])
@KINDS
def test_permissions_are_those_of_the_umask_and_at_most_those_of_the_source(tmp_path, folder, source, umask):
    mode = 0o777
    if source is not None:
        (tmp_path / "source").touch()
        (tmp_path / "source").chmod(source)
        mode = mode_of(tmp_path / "source")
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "out", folder=folder, mode=mode) as temporary:
            assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700
            fill(temporary, folder)
    finally:
        os.umask(before)
    file = tmp_path / "out" / "deep" / "file" if folder else tmp_path / "out"
    allowed = 0o666 if source is None else source | 0o600
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask & allowed
    if folder:
        can_read = stat.S_IMODE(file.stat().st_mode) & 0o444
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) & 0o555 == can_read | can_read >> 2


@posix
def test_the_mode_of_a_folder_is_that_of_its_most_private_file(tmp_path):
    for name, mode in (("a", 0o644), ("b", 0o640)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    assert mode_of(tmp_path) == 0o640


def native(text: str) -> Exception:
    return RuntimeError(text)


def caused_by_the_system() -> Exception:
    error = ValueError("codec failed")
    error.__cause__ = OSError(28, "No space left on device")
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("encoder error -2"), "encoder error -2"),
        (caused_by_the_system(), "No space left on device"),
        (ExceptionGroup("tasks", [ValueError(), OSError(122, "Disk quota exceeded")]), "Disk quota exceeded"),
        (native("Error while serializing: I/O error: No space left on device (os error 28)"), "No space left"),
        (native("[enforce fail at inline_container.cc:664] . unexpected pos 320 vs 214"), "the disk is full"),
        (native("PytorchStreamWriter failed writing file data/0: file write failed"), "the disk is full"),
    ],
)
def test_everything_that_a_full_disk_raises_is_one_sentence_with_the_path(tmp_path, error, reason):
    with pytest.raises(MedleyError) as refused, writing(tmp_path / "out"):
        raise error
    assert str(refused.value).startswith(f"{tmp_path / 'out'}: could not be written: ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def in_the_wake_of_a_refusal() -> Exception:
    error = ValueError("a fault of ours")
    error.__context__ = OSError(2, "No such file or directory")  # was handled
    return error


@pytest.mark.parametrize("error", [ValueError("a fault"), RuntimeError("NaN"), in_the_wake_of_a_refusal()])
def test_other_errors_pass_unchanged(tmp_path, error):
    with pytest.raises(type(error)) as passed, writing(tmp_path / "out"):
        raise error
    assert passed.value is error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_real_libraries_on_a_full_disk(tmp_path):
    import torch
    from safetensors.torch import save_file

    (tmp_path / "full").symlink_to("/dev/full")
    for save in (
        lambda path: torch.save({"a": torch.zeros(100_000)}, path),
        lambda path: path.write_bytes(b"x"),
    ):
        with pytest.raises(MedleyError, match="could not be written"), writing(tmp_path / "full"):
            save(tmp_path / "full")
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
    try:
        for save in (torch.save, save_file):
            with (
                pytest.raises(MedleyError, match="out: could not be written"),
                replacing(tmp_path / "out") as temporary,
            ):
                save({"a": torch.zeros(100_000)}, temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [one.name for one in tmp_path.iterdir()] == ["full"]


@pytest.fixture
def fresh(monkeypatch):
    """As in a new process: no folder has been looked at."""
    monkeypatch.setattr(atomic, "_tidied", set())


@posix
def test_what_killed_processes_left_is_removed_and_what_living_ones_have_is_kept(tmp_path, fresh):
    dead = dead_token()
    for name in (f".part-{dead}-0123abcd", f".part-{owner_token()}-0123abcd", f".part-000000-{dead[7:]}-0123abcd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scan.nii.gz").touch()
    (tmp_path / f".part-{dead}-notes.txt").touch()
    with replacing(tmp_path / "out") as temporary:
        temporary.touch()
    assert f".part-{dead}-0123abcd" not in [one.name for one in tmp_path.iterdir()]
    assert len(list(tmp_path.iterdir())) == 4


@posix
@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_whose_replacement_was_killed_is_put_back(tmp_path, fresh, replaced):
    old = tmp_path / f".old-{dead_token()}-0123abcd" / "out"
    fill(old, True, "old")
    if replaced:
        fill(tmp_path / "out", True, "new")
        remove_leftovers(tmp_path)
    else:
        with pytest.warns(MedleyNotice, match="out: was put back"):
            remove_leftovers(tmp_path)
    assert content(tmp_path / "out") == ("new" if replaced else "old")
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@posix
def test_leftovers_are_never_followed_out_of_the_folder(tmp_path, fresh):
    precious = tmp_path / "precious"
    fill(precious, True)
    work = tmp_path / "work"
    work.mkdir()
    (work / f".part-{dead_token()}-0123abcd").symlink_to(precious)
    remove_leftovers(work)
    assert content(precious) == "new"


@pytest.mark.parametrize("where", ["first", "second"])
def test_an_old_folder_is_never_lost_when_the_exchange_fails(tmp_path, monkeypatch, where):
    fill(tmp_path / "out", True, "old")
    real, calls = os.replace, []

    def fail(source, target):
        calls.append(target)
        if len(calls) == (1 if where == "first" else 2):
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(atomic.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "out", folder=True, overwrite=True) as temporary:
        fill(temporary, True)
    assert content(tmp_path / "out") == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@posix
@KINDS
def test_what_a_process_killed_while_writing_leaves_is_removed_by_the_next(tmp_path, fresh, folder):
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from medley.runtime.atomic import replacing
        with replacing(Path(sys.argv[1]) / "out", folder=sys.argv[2] == "True") as temporary:
            temporary.mkdir() if sys.argv[2] == "True" else temporary.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", code, tmp_path, str(folder)], check=False)
    assert killed.returncode == -9
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".part-")
    with replacing(tmp_path / "out", folder=folder) as temporary:
        fill(temporary, folder)
    assert [one.name for one in tmp_path.iterdir()] == ["out"]
