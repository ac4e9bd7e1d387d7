"""The loop over many scans that all commands share: progress, errors of single scans, the JSON record, exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medley
from medley.apps._outputs import check_outputs, is_stdout, write_json, write_text
from medley.apps._terminal import Update, complain, explain, progress, say
from medley.errors import MedleyError
from medley.io.files import Scan
from medley.runtime.atomic import mode_of

Work = Callable[["Job", Update], dict[str, Any]]
Summary = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Job:
    """One scan and the paths of its results.

    Attributes
    ----------
    output: a file or a folder. page: the HTML report; None for no report.
    error_map: a file for the expected error of every voxel; None for none.
    """

    scan: Scan
    output: Path
    page: Path | None = None
    error_map: Path | None = None

    @property
    def mode(self) -> int:
        """The permissions that the results have at most: those of the scan."""
        return mode_of(Path(self.scan.path))


def make_jobs(
    scans: Sequence[Scan], outputs: Sequence[Path], page: Path | None = None, error_map: Path | None = None
) -> list[Job]:
    """The jobs of several scans, each with its report in the folder `page` and its map of errors in `error_map`.

    For a single scan both are files.

    Raises
    ------
    MedleyError: one of them is a file, and there are several scans.
    """
    pages = _for_each(scans, page, ".html", "report")
    maps = _for_each(scans, error_map, ".nii.gz", "map of the expected error")
    return [Job(*one) for one in zip(scans, outputs, pages, maps, strict=True)]


def _for_each(scans: Sequence[Scan], path: Path | None, suffix: str, what: str) -> Sequence[Path | None]:
    if path is None or len(scans) == 1:
        return [path] * len(scans)
    if path.suffix:
        raise MedleyError(f"there are {len(scans)} scans, but the {what} {path} is one file; give a folder")
    return [path / f"{scan.name}{suffix}" for scan in scans]


def run_jobs(
    jobs: Sequence[Job],
    work: Work,
    summary: Summary,
    *,
    inputs: Iterable[Path],
    record: Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Do the work for every scan. A scan that fails is reported, and the others are still done.

    Parameters
    ----------
    work: processes a scan and returns its record (plain JSON values). The sentences in its "notes" are printed.
    summary: the line to print for a record.
    inputs: files and folders that are read, and that no result may replace.
    record: a JSON file with the records of all scans, or "-" for stdout. It is written also after an interrupt.

    Returns
    -------
    The exit code: 0 all scans done, 1 none, 3 some.

    Raises
    ------
    MedleyError: before any work: results would replace each other or an input, or exist already.
    """
    files = [record] if record is not None and not is_stdout(record) else []
    beside = [path for job in jobs for path in (job.page, job.error_map) if path is not None]
    check_outputs(inputs, [job.output for job in jobs], [*beside, *files], overwrite=overwrite)
    records: list[dict[str, Any]] = []
    content: dict[str, Any] = {"medley": medley.__version__, "scans": records}
    try:
        for number, job in enumerate(jobs, 1):
            title = job.scan.name if len(jobs) == 1 else f"{job.scan.name} ({number} of {len(jobs)})"
            with progress(title, quiet=quiet) as update:
                one = _run(job, work, update)
            records.append(one)
            if "error" in one:
                complain(one["error"])
                continue
            for note in one.get("notes", ()):
                say(f"{job.scan.name}: {note}", quiet=quiet)
            say(summary(one), quiet=quiet)
    except KeyboardInterrupt:
        content["interrupted"] = True
        try:
            _write_record(record, content, jobs, overwrite)
        except MedleyError as error:
            complain(str(error))
        raise
    _write_record(record, content, jobs, overwrite)
    failed = sum("error" in one for one in records)
    return 0 if not failed else 1 if failed == len(records) else 3


def write_page(job: Job, html: str, *, overwrite: bool = False) -> None:
    """Write the report of a scan whose results are written already.

    Raises
    ------
    MedleyError: it cannot be written; the message says that the results themselves are complete.
    """
    if job.page is None:
        return
    try:
        write_text(job.page, html, overwrite=overwrite, mode=job.mode)
    except MedleyError as error:
        raise MedleyError(f"{error}; the result itself is complete: {job.output}") from error


def _run(job: Job, work: Work, update: Update) -> dict[str, Any]:
    """The record of a scan; where the work fails for whatever reason, one with the key "error"."""
    try:
        return work(job, update)
    except Exception as error:
        text = explain(error)
        path = str(job.scan.path)
        return {"name": job.scan.name, "input": path, "error": text if path in text else f"{path}: {text}"}


def _write_record(path: Path | None, content: dict[str, Any], jobs: Sequence[Job], overwrite: bool) -> None:
    if path is None:
        return
    mode = 0o777
    for job in jobs:
        if Path(job.scan.path).exists():
            mode &= job.mode
    write_json(path, content, overwrite=overwrite, mode=mode)
