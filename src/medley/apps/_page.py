"""Parts of all reports: HTML files without links, with one style sheet for light and dark mode."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import date
from html import escape
from importlib.resources import files
from string import Template

import medley


def fill(template: str, text: Mapping[str, str], blocks: Mapping[str, str]) -> str:
    """The page with the template as its middle part, filled with `text`, which is escaped, and HTML `blocks`.

    Every page has the texts scan, done_by, kind, headline, warning and notice, and the blocks figures, done, model and
    small_print; its template may use others.
    """
    style, frame, part = (
        files("medley.apps").joinpath(name).read_text("utf-8") for name in ("page.css", "page.html", template)
    )
    values = {key: escape(value) for key, value in text.items()} | dict(blocks)
    values |= {"version": medley.__version__, "date": date.today().isoformat(), "style": style}
    return Template(frame).substitute(values, body=Template(part).substitute(values).rstrip("\n"))


def figures(numbers: Iterable[tuple[str, str]]) -> str:
    """A row of (value, name) pairs in large print."""
    return "\n".join(
        f'<div class="figure"><b>{escape(value)}</b><span class="soft small">{escape(name)}</span></div>'
        for value, name in numbers
    )


def picture(png: bytes, title: str, shape: str = "") -> str:
    """An image that is embedded in the page; `shape` is CSS."""
    return f'<img alt="{escape(title)}" style="{shape}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def minus(text: str) -> str:
    """The text with minus signs instead of hyphens."""
    return text.replace("-", "−")


def table_rows(rows: Mapping[str, str]) -> str:
    """The rows of a table of names and values."""
    return "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
