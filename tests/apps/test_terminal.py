"""Messages, progress, errors and interrupts of every command."""

import os
import signal
import subprocess
import sys
import time

import pytest

from medley.apps._terminal import DEBUG, complain, explain, progress, say
from medley.apps.cli import main
from medley.errors import MedleyError


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_progress_bar_waits_two_seconds(clock, monkeypatch) -> None:
    started = []
    monkeypatch.setattr("rich.progress.Progress.start", lambda self: started.append(clock[0]))
    with progress("work") as update:
        for clock[0] in (0.5, 1.9, 2.5):
            update(1, 3)
    assert started == [2.5]


def test_without_a_terminal_there_is_a_line_every_ten_seconds(clock, capsys) -> None:
    with progress("head") as update:
        for k, clock[0] in enumerate((1, 9, 10.5, 15, 19, 21)):
            update(k, 1200)
    assert capsys.readouterr().err == "head: 2 of 1,200\nhead: 5 of 1,200\n"
    with progress("head", quiet=True) as update:
        clock[0] = 100
        update(1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("show", [say, complain])
def test_names_cannot_control_the_terminal(show, capsys) -> None:
    show("scan\x1b[2J\x1b]0;title\x07\nerror: fake\udce9.nii [bold]x[/bold]")
    shown = capsys.readouterr().err
    assert shown.endswith("scan\\x1b[2J\\x1b]0;title\\x07\\nerror: fake\\udce9.nii [bold]x[/bold]\n")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MedleyError("x.nii: is empty"), "x.nii: is empty"),
        (MemoryError(), "the memory is not sufficient"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "the memory is not sufficient"),
        (FileNotFoundError(2, "No such file or directory", "x.nii"), "x.nii: No such file or directory"),
        (ZeroDivisionError("division by zero"), "unexpected error: ZeroDivisionError: division by zero. Please report"),
        (ValueError("one\ntwo"), "unexpected error: ValueError: two. Please report it; medley --debug shows where"),
        (KeyError("tag"), "unexpected error: KeyError: 'tag'"),
    ],
)
def test_every_exception_has_a_sentence(error, sentence) -> None:
    assert explain(error).startswith(sentence)
    assert "\n" not in explain(error)


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), RuntimeError("x"), RecursionError("x"), AssertionError()])
def test_an_unexpected_error_of_any_command_is_one_line_and_a_traceback_with_debug(error, monkeypatch, capsys) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr("medley.apps.listing.tasks", fail)
    monkeypatch.setenv(DEBUG, "")
    for arguments, lines in ((["tasks"], 1), (["--debug", "tasks"], 5)):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        shown = capsys.readouterr().err
        assert left.value.code == 1
        assert len(shown.splitlines()) >= lines
        assert ("Traceback" in shown) == (lines > 1)
        assert f"error: unexpected error: {type(error).__name__}" in shown


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_any_command_with_a_plain_line(number, code) -> None:
    program = """if True:
        import signal, sys
        from medley.apps import cli, listing
        listing.tasks = lambda **_: signal.raise_signal(int(sys.argv[1]))
        cli.main(["tasks"])
    """
    done = subprocess.run(
        [sys.executable, "-c", program, str(int(number))], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert done.stderr == "interrupted; finished results are kept, unfinished ones are removed\n"


def test_a_closed_pipe_is_no_error() -> None:
    program = "import sys; sys.stdout = open('/dev/full', 'w'); from medley.apps.cli import main; main(['tasks'])"
    show = [sys.executable, "-m", "medley.apps.cli", "tasks", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(show, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    if os.path.exists("/dev/full"):
        full = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert full.returncode != 0


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["restre"], "Did you mean 'restore'"),
        (["restore", "x", "-o", "y", "--rport", "z"], "--report"),
        (["restore", "x", "-o", "y", "-t", "ct-denoising"], "did you mean 'ct-denoise'?"),
        (["restore", "x", "-o", "y", "--precision", "bfloat"], "did you mean 'bfloat16'?"),
        (["degrade", "x", "-o", "y", "-t", "ct-denoise", "--set", "doze=1"], "did you mean 'dose'?"),
        (["convert", "x.pth", "-o", "y", "--network", "amri", "-t", "mr-sr"], "did you mean 'amir'?"),
        (["prepare", "folders", "x", "-o", "y"], "did you mean 'folder'?"),
        (["prepare", "folder", "x", "-o", "y", "--set", "ct-denoising.dose=1"], "did you mean 'ct-denoise'?"),
        (["restore", "x", "-o", "y", "-m", "tat-tny", "-t", "auto"], "did you mean 'tat-tiny'?"),
    ],
)
def test_misspelt_words_are_followed_by_a_suggestion(arguments, suggestion, medley, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "scan.nii").touch()
    done = medley(*arguments)
    assert done.code in (1, 2)
    assert suggestion in " ".join(done.err.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["restore", "", "-o", "out"], ["restore", "x", "-o", ""], ["models", ""], [""]])
def test_an_empty_argument_is_refused_as_wrong_usage(arguments, medley, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = medley(*arguments)
    assert done.code == 2
    assert "an argument is empty" in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_the_shell_can_be_shown(shell) -> None:
    environment = os.environ | {"_MEDLEY_COMPLETE": f"complete_{shell}", "COMP_WORDS": "medley res", "COMP_CWORD": "1"}
    environment |= {"_TYPER_COMPLETE_ARGS": "medley res", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    show = [sys.executable, "-m", "medley.apps.cli"]
    done = subprocess.run(show, env=environment, capture_output=True, text=True, check=False)
    assert "restore" in done.stdout
