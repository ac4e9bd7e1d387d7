"""Every medley command in the README and in docs/ has valid options, and names files that exist or that it makes."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from medley.apps.cli import app
from medley.models import weights

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(text: str) -> list[list[str]]:
    """The words of every medley command: in indented blocks (also continued lines) and between backquotes.

    Commands with placeholders such as LAYOUT or [OPTION] are left out, and so are bare names such as `medley train` and
    those that only show help or install completion.
    """
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    found = [line.strip() for line in lines if re.match(r"(    |\t)(\$ )?medley ", line)]
    found += [match[1] for match in re.finditer(r"`(medley [^`\n]*)`", text)]
    words = [shlex.split(one.removeprefix("$ "), comments=True)[1:] for one in found]
    runs = [one for one in words if len(one) > 1 and not one[0].startswith("-") and one[1] not in ("-h", "--help")]
    return [one for one in runs if not re.search(r"\[|\.\.\.|LAYOUT|MODEL\b", " ".join(one))]


DOCUMENTED = [
    pytest.param(page, words, id=f"{page.stem}: {' '.join(words)[:60]}")
    for page in PAGES
    for words in commands(page.read_text())
]


def test_commands_are_found_in_all_their_forms() -> None:
    text = """
    medley restore a -o b   # a comment
    medley prepare folder SCANS \\
        -o stores/a --seed 3
Run `medley doctor --json`, or `medley train`.
    medley prepare LAYOUT SOURCE -o STORE
    """
    assert commands(text) == [
        ["restore", "a", "-o", "b"],
        ["prepare", "folder", "SCANS", "-o", "stores/a", "--seed", "3"],
        ["doctor", "--json"],
    ]
    assert len(DOCUMENTED) > 30


@pytest.mark.parametrize(("page", "words"), DOCUMENTED)
def test_a_documented_command_is_accepted(page: Path, words: list[str], examples: Path) -> None:
    """Parsed as the program does; wrong options, values or a missing argument raise an error. Nothing is run."""
    group = get_command(app)
    with group.make_context("medley", list(words)) as context:
        name, command, rest = group.resolve_command(context, words)
        while hasattr(command, "resolve_command"):
            with command.make_context(name, list(rest), parent=context) as context:
                inner = [*context._protected_args, *context.args]
                if not inner:  # a command that has others below it, such as pacs
                    break
                name, command, rest = command.resolve_command(context, inner)
        try:
            with command.make_context(name, list(rest), parent=context) as parsed:
                assert parsed.params
        except Exception as error:
            # A part of a command in a sentence, such as `medley restore --model FILE`, need not be complete.
            if type(error).__name__ != "MissingParameter" or f"`medley {shlex.join(words)}`" not in page.read_text():
                raise


@pytest.mark.parametrize(("page", "words"), DOCUMENTED)
def test_the_recipes_and_models_of_a_documented_command_exist(page: Path, words: list[str]) -> None:
    for word in words:
        if word.endswith(".yaml"):
            assert (ROOT / word).is_file() or f"    # {word}\n" in page.read_text(), word
    for option in {"--model", "-m"} & set(words):
        model = words[words.index(option) + 1]
        assert model in weights.packaged() or Path(model).suffix in (".safetensors", ".onnx"), model


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_documented_commands_do_not_overwrite_each_others_results(page: Path) -> None:
    """`evaluate` and `compare` write different tables; the second would be refused, or replace the first."""
    tables: dict[str, set[str]] = {"evaluate": set(), "compare": set()}
    for words in commands(page.read_text()):
        if words[0] in tables and "-o" in words:
            tables[words[0]].add(words[words.index("-o") + 1])
    assert not tables["evaluate"] & tables["compare"]
