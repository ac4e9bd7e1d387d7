"""The command line: all commands, with the same handling of errors for each.

A command imports what it needs when it runs, so that `--help` is fast.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import medley
from medley.apps import _commands_models, _commands_pacs, _commands_research, _commands_scans
from medley.apps._terminal import DEBUG, complain, explain, say, show_notices
from medley.runtime.allocator import keep_buffers
from medley.runtime.signals import exit_code, raise_on_termination
from medley.runtime.temporary import remove_abandoned

# What typer handles itself, and a reader such as `head` that has closed the pipe. The base class of wrong usage has no
# public name: older versions of typer use the package click, newer ones a copy of it.
_PASSED_ON: tuple[Any, ...] = (typer.Exit, typer.Abort, typer.BadParameter.__mro__[2], BrokenPipeError)


class _Commands(TyperGroup):
    """The commands, each with the same handling of errors and interrupts."""

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        """Refuse an empty argument: as a path it would stand for the current folder."""
        if "" in arguments:
            raise typer.BadParameter("an argument is empty; is a shell variable not set?")
        return super().parse_args(context, arguments)

    def invoke(self, context: Any) -> Any:
        """Run a command; an exception becomes one line and an exit code, a traceback is shown with --debug only."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt as interrupt:
            say("interrupted; finished results are kept, unfinished ones are removed")
            raise typer.Exit(exit_code(interrupt)) from interrupt
        except _PASSED_ON:
            raise
        except Exception as error:
            complain(explain(error))
        raise typer.Exit(1)


app = typer.Typer(
    cls=_Commands,
    help="Restore MR, CT and PET scans, and predict doses, structures and diagnoses. Not for diagnosis.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some of several scans failed, 4 adapt found no improvement, "
    "130 interrupted by Ctrl-C, 143 terminated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


for commands in (_commands_scans, _commands_pacs, _commands_research, _commands_models):
    app.add_typer(commands.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"medley {medley.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show the traceback of unexpected errors, as {DEBUG}=1 does.")
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG] = "1"


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code."""
    keep_buffers()
    raise_on_termination()
    remove_abandoned()
    show_notices()
    app(arguments, prog_name="medley")


if __name__ == "__main__":
    main()
