"""The examples of docs/extending.md as files."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def example_files() -> dict[str, str]:
    """{name: content} of the indented blocks that begin with "# NAME.py" or "# NAME.yaml"."""
    blocks = re.findall(r"(?:^    .*\n(?:\n+(?=    ))?)+", PAGE.read_text(), flags=re.MULTILINE)
    texts = [textwrap.dedent(block) for block in blocks]
    return {match[1]: text for text in texts if (match := re.match(r"# ([\w-]+\.(?:py|yaml))\n", text))}


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]) -> Path:
    """The folder of the example files, which is the current one."""
    for name, content in example_files().items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path
