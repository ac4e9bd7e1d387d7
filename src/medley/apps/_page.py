"""Parts of all reports: HTML files without links, with one style sheet for light and dark mode."""

from __future__ import annotations

import base64
import re
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
    body = _substituted(template, text, blocks)
    return document("page.html", f"{text['scan']} · {text['done_by']}", text, {**blocks, "body": body})


def document(template: str, title: str, text: Mapping[str, str], blocks: Mapping[str, str]) -> str:
    """A whole HTML file: the template, filled like that of `fill`, in the frame of all pages with the style sheet."""
    style = files("medley.apps").joinpath("page.css").read_text("utf-8")
    content = _substituted(template, text, blocks)
    return _substituted("frame.html", {"title": title}, {"style": style, "content": content}) + "\n"


def _substituted(template: str, text: Mapping[str, str], blocks: Mapping[str, str]) -> str:
    """A template with texts, which are escaped, and HTML blocks, the version and the date; no newline at its end."""
    values = {key: escape(value) for key, value in text.items()} | dict(blocks)
    values |= {"version": medley.__version__, "date": date.today().isoformat()}
    page = files("medley.apps").joinpath(template).read_text("utf-8")
    return Template(page).substitute(values).rstrip("\n")


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
    """The text with minus signs before its negative numbers and exponents; hyphens in words stay."""
    return re.sub(r"(?<!\w)-(?=\d)|(?<=\de)-(?=\d)", "−", text)


def table_rows(rows: Mapping[str, str]) -> str:
    """The rows of a table of names and values."""
    return "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())


def table_section(heading: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A section with a heading and a table, which scrolls where it is wider than the page."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f'<div class="numbers"><table><tr>{head}</tr>{body}</table></div>'
    return f"<section><h2>{escape(heading)}</h2>{table}</section>"
