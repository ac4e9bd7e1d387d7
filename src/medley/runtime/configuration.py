"""Configurations in YAML: files and NAME=VALUE settings, read safely and in one way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from medley.errors import MedleyError
from medley.runtime.text import did_you_mean

MAX_BYTES = 1_000_000
MAX_DEPTH = 32

T = TypeVar("T", bound=BaseModel)


class Strict(BaseModel):
    """Base class of configurations: unknown keys are errors, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def checked(kind: type[T], content: Mapping[str, Any], what: str) -> T:
    """`content` as a `kind`.

    Raises
    ------
    MedleyError: unknown keys, with the most similar valid ones, or invalid values; all are named after `what`.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_sentence(kind, one["type"], one["loc"], one["msg"]) for one in error.errors())
        raise MedleyError(f"{what}: {problems}") from None


def read_configuration(path: str | Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML file in UTF-8; an empty file has none.

    Parameters
    ----------
    what: the kind of file, for messages, such as "the recipe".

    Raises
    ------
    MedleyError: it cannot be read, is larger than `MAX_BYTES`, is not UTF-8, not YAML, or does not hold keys and
        values.
    """
    path = Path(path)
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise MedleyError(f"{what} {path} is larger than {MAX_BYTES:,} bytes; is it another file?")
        content = parse_yaml(path.read_text(encoding="utf-8-sig"), f"{what} {path}")
    except UnicodeDecodeError as error:
        raise MedleyError(f"{what} {path} is not text in UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise MedleyError(f"{what} {path} cannot be read: {error.strerror or error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise MedleyError(f"{what} {path} holds {_kind(content)}, expected keys and values")
    return content


def parse_setting(text: str) -> tuple[str, Any]:
    """The name and the value of a setting "NAME=VALUE"; the value is read as YAML: 1e-3 is a number, [1, 2] a list.

    Raises
    ------
    MedleyError: there is no name or no "=", or the value is not YAML.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise MedleyError(f"--set {text}: expected NAME=VALUE, such as dose=0.25")
    return name, parse_yaml(value, f"--set {text}")


def parse_yaml(text: str, what: str) -> Any:
    """The value of a YAML text: scalars as YAML 1.2 defines them, lists, and dictionaries with text keys.

    YAML 1.1, which PyYAML follows, reads 1e5 as text, 010 as 8, 1:30 as 90 and "no" as False; version 1.2 does not.
    Aliases are refused, since a short text with aliases can stand for a gigantic value.

    Raises
    ------
    MedleyError: it is not YAML, is nested deeper than `MAX_DEPTH`, or has aliases or a key twice. The message starts
        with `what`.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise MedleyError(f"{what}: cannot be read as YAML: {_one_line(error)}") from error
    except (ValueError, RecursionError, OverflowError) as error:  # such as an integer of thousands of digits
        raise MedleyError(f"{what}: cannot be read as YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """The safe loader of PyYAML with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise ComposerError(None, None, "aliases (*name) are not allowed", mark)
        if self._depth >= MAX_DEPTH:
            raise ComposerError(None, None, f"it is nested more than {MAX_DEPTH} levels deep", mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str | int | float | bool | None):
                raise ConstructorError(None, None, "a key must be a single word", key.start_mark)
            if str(name) in keys:
                raise ConstructorError(None, None, f"the key {str(name)!r} occurs twice", key.start_mark)
            keys.add(str(name))
        return {str(key): value for key, value in super().construct_mapping(node, deep).items()}


def _integer(loader: _Loader, node: Any) -> int:
    text = loader.construct_scalar(node)
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    return int(text if base == 10 else text[2:], base)


# The core schema of YAML 1.2.2, section 10.3.2. The first character selects the patterns that are tried.
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def _sentence(kind: type[BaseModel], problem: str, place: tuple[str | int, ...], message: str) -> str:
    """One problem that pydantic found, with a suggestion for an unknown key."""
    name = ".".join(map(str, place))
    if problem != "extra_forbidden":
        message = message.removeprefix("Value error, ")
        return f"{name}: {message[:1].lower()}{message[1:]}" if name else message
    within: Any = kind
    for part in place[:-1]:
        within = _type_at(within, part)
    return f"{name}: unknown key{did_you_mean(str(place[-1]), getattr(within, 'model_fields', ()))}"


def _type_at(within: Any, part: str | int) -> Any:
    """The type of a key of a model, or of an item of a list or a dictionary; "X | None" counts as X."""
    arguments = [one for one in get_args(within) if one is not NoneType]
    if NoneType in get_args(within):
        return _type_at(arguments[0], part)
    if isinstance(within, type) and issubclass(within, BaseModel):
        annotation = within.model_fields[str(part)].annotation
        arguments = [one for one in get_args(annotation) if one is not NoneType]
        return arguments[0] if NoneType in get_args(annotation) else annotation
    return arguments[0 if isinstance(part, int) else -1]


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    parts = [part for name in ("context", "problem") if (part := getattr(error, name, None))]
    return " ".join(" ".join(parts or [str(error)]).split()) + place


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}[type(value)]
