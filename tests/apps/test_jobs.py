"""The loop over scans: every failure is recorded, nothing else is lost."""

import json
import os
import stat
from pathlib import Path

import pytest

from medley.apps._terminal import DEBUG
from medley.apps.jobs import Job, make_jobs, run_jobs, write_page
from medley.errors import MedleyError
from medley.io.files import Scan

FAILURES = [
    MedleyError("is empty"), ValueError("bad"), KeyError("tag"), IndexError(), AttributeError("x"), RuntimeError("x"),
    OSError(5, "Input/output error"), MemoryError(), RecursionError("deep"), AssertionError(), UnicodeError("x"),
]  # fmt: skip


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / f"{name}.nii" for name in "abc"]
    for path in paths:
        path.touch(mode=0o640)
    scans = [Scan(path, None, path.stem) for path in paths]
    return make_jobs(scans, [tmp_path / "out" / path.name for path in paths], tmp_path / "pages")


def run(jobs: list[Job], failures: dict[str, BaseException], **options: object) -> int:
    def work(job: Job, update: object) -> dict:
        if job.scan.name in failures:
            raise failures[job.scan.name]
        job.output.parent.mkdir(exist_ok=True)
        job.output.write_text("done")
        return {"name": job.scan.name, "notes": [f"note on {job.scan.name}"]}

    inputs = [jobs[0].scan.path.parent]
    return run_jobs(jobs, work, lambda record: f"{record['name']} done", inputs=inputs, **options)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: type(error).__name__)
def test_a_failing_scan_does_not_stop_the_others(jobs, failure, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.delenv(DEBUG, raising=False)
    assert run(jobs, {"b": failure}, record=tmp_path / "record.json") == 3
    records = json.loads((tmp_path / "record.json").read_text())["scans"]
    assert [record["name"] for record in records] == ["a", "b", "c"]
    assert ["error" in record for record in records] == [False, True, False]
    assert str(jobs[1].scan.path) in records[1]["error"]
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["a: note on a", "a done", f"error: {records[1]['error']}", "c: note on c", "c done"]
    known = isinstance(failure, MedleyError | MemoryError | OSError)
    assert ("unexpected error" in records[1]["error"]) != known


def test_the_exit_code_says_how_many_failed(jobs) -> None:
    assert run(jobs, {}) == 0
    assert run(jobs, dict.fromkeys("ab", ValueError()), overwrite=True) == 3
    assert run(jobs, dict.fromkeys("abc", ValueError()), overwrite=True) == 1


def test_the_record_is_written_after_an_interrupt_too(jobs, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(jobs, {"b": KeyboardInterrupt()}, record=tmp_path / "record.json")
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["interrupted"] is True
    assert [one["name"] for one in record["scans"]] == ["a"]


def test_an_interrupt_stays_an_interrupt_when_the_record_cannot_be_written(jobs, tmp_path, capsys) -> None:
    class Appears(KeyboardInterrupt):
        def __init__(self) -> None:
            (tmp_path / "record.json").write_text("other")

    def work(job: Job, update: object) -> dict:
        raise Appears

    with pytest.raises(Appears):
        run_jobs(jobs, work, lambda record: "", inputs=[tmp_path / "in"], record=tmp_path / "record.json")
    assert "record.json: exists already" in capsys.readouterr().err
    assert (tmp_path / "record.json").read_text() == "other"


def test_the_record_goes_to_stdout(jobs, capsys) -> None:
    assert run(jobs, {"a": ValueError()}, record=Path("-"), quiet=True) == 3
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)["scans"]) == 3
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize("record", ["out/a.nii", "pages/b.html", "in/a.nii", "in/new.json", "out/A.nii"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_record_that_would_replace_something_is_refused_before_any_work(jobs, record, overwrite, tmp_path) -> None:
    with pytest.raises(MedleyError, match=r"the same file|the input"):
        run(jobs, {}, record=tmp_path / record, overwrite=overwrite)
    assert not (tmp_path / "out").exists()


def test_one_report_for_several_scans_is_refused(jobs, tmp_path) -> None:
    scans = [job.scan for job in jobs]
    outputs = [job.output for job in jobs]
    with pytest.raises(MedleyError, match="there are 3 scans, but the report"):
        make_jobs(scans, outputs, tmp_path / "page.html")
    assert make_jobs(scans[:1], outputs[:1], tmp_path / "page.html")[0].page == tmp_path / "page.html"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX systems")
def test_reports_and_records_are_as_private_as_the_scan(jobs, tmp_path) -> None:
    jobs[0].scan.path.chmod(0o600)
    write_page(jobs[0], "<html>")
    run(jobs, {}, record=tmp_path / "record.json", overwrite=True)
    assert stat.S_IMODE(jobs[0].page.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "record.json").stat().st_mode) == 0o600


def test_a_report_that_cannot_be_written_does_not_hide_that_the_result_is_there(jobs) -> None:
    jobs[0].page.mkdir(parents=True)
    with pytest.raises(MedleyError, match=r"a\.html: is a folder already.*the result itself is complete: .*a\.nii"):
        write_page(jobs[0], "<html>", overwrite=True)
