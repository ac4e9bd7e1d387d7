"""The commands `pacs`, `pacs pull`, `pacs list`, `pacs retry` and `pacs discard`: their options and help texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medley.apps import _options as options

app = typer.Typer()
pacs = typer.Typer()
app.add_typer(pacs, name="pacs", rich_help_panel="Scans")

Config = Annotated[Path, typer.Option("--config", "-c", metavar="PACS.yaml", help="The configuration of the node.")]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="[NUMBER]...", help="Numbers of series, as of list.")]


def _require() -> None:
    from medley.runtime.extras import require_extra

    require_extra("pacs")


@pacs.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="PACS.yaml", help="The configuration of the node.")
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Run a PACS node: it receives series, restores or predicts those that rules select, and sends the results.

    It runs until it is interrupted. What was received is kept, and work continues at the next start.
    """
    if context.invoked_subcommand:
        return
    if config is None:
        raise typer.BadParameter("the node needs a configuration: medley pacs --config pacs.yaml")
    _require()
    from medley.apps.pacs import run as run_node

    run_node(config, quiet=quiet)


@pacs.command()
def pull(
    config: Config,
    archive: Annotated[str, typer.Option("--from", metavar="ARCHIVE", help="An archive of the configuration.")],
    study: Annotated[str, typer.Option(metavar="UID", help="StudyInstanceUID.")] = "",
    patient: Annotated[str, typer.Option(metavar="ID", help="PatientID.")] = "",
    accession: Annotated[str, typer.Option(metavar="NUMBER", help="AccessionNumber.")] = "",
    date: Annotated[str, typer.Option(metavar="DATES", help="StudyDate, such as 20260131 or 20260101-20260131.")] = "",
    modality: Annotated[str, typer.Option(metavar="MODALITY", help="Only series of this modality.")] = "",
    series: Annotated[str, typer.Option(metavar="UID", help="Only this series (SeriesInstanceUID).")] = "",
    quiet: options.Quiet = False,
) -> None:
    """Request series from an archive (C-FIND and C-MOVE, or QIDO-RS and WADO-RS) and put them into the queue.

    The node processes them: the one that runs, or the next one that is started.
    """
    _require()
    from medley.apps._terminal import say
    from medley.apps.pacs import pull as run_pull
    from medley.node.pull import Wanted
    from medley.runtime.text import counted

    wanted = Wanted(study, patient, accession, date, modality, series)
    pulled = run_pull(config, archive, wanted, quiet=quiet)
    failed = f"; {counted(pulled.failed, 'object')} did not come" if pulled.failed else ""
    say(f"{pulled.series:,} series, {counted(pulled.objects, 'object')}{failed}", quiet=quiet)
    raise typer.Exit(3 if pulled.failed else 0)


@pacs.command("list")
def list_series(config: Config, as_json: options.AsJson = False) -> None:
    """List the series in the queue: number, state, objects, and the reason of those that were set aside."""
    _require()
    from medley.apps._tables import show_rows
    from medley.apps.pacs import listed

    rows = listed(config)
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        show_rows(
            ("series", "state", "objects", "since", "reason"), [[str(one) for one in row.values()] for row in rows]
        )


@pacs.command()
def retry(config: Config, numbers: Numbers = None) -> None:
    """Put series that were set aside back into the queue; all of them without a number."""
    _require()
    from medley.apps._terminal import say
    from medley.apps.pacs import retry as put_back

    for number, state in put_back(config, numbers or []).items():
        say(f"series {number}: {state}")


@pacs.command()
def discard(config: Config, numbers: Annotated[list[int], typer.Argument(metavar="NUMBER...")]) -> None:
    """Give up series that were set aside; their files are removed after `keep_days`."""
    _require()
    from medley.apps.pacs import discard as give_up

    give_up(config, numbers)
