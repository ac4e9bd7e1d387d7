"""The page of all recipe keys, made from the recipe classes.

python -m medley.training.recipe_docs > docs/recipe-keys.md
"""

from __future__ import annotations

import inspect
import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from medley.training.recipe import PredictionRecipe, Recipe, RestorationRecipe
from medley.training.settings import Balance, Optimizer, Sampling, Validation

_INTRODUCTION = """# Recipe keys

All keys of the recipes of `medley train`, and of `recipe` and `methods` in those of `medley compare`.
[Training](training.md) explains how to use them.

This page is generated: `python -m medley.training.recipe_docs > docs/recipe-keys.md`.
"""
# Title, prefix of the keys, class, and the base class whose keys are listed elsewhere.
_SECTIONS: list[tuple[str, str, type[BaseModel], type[BaseModel]]] = [
    ("Every recipe", "", Recipe, BaseModel),
    ("Restorers", "", RestorationRecipe, Recipe),
    ("Multi-task networks", "", PredictionRecipe, Recipe),
    ("Optimizer", "optimizer.", Optimizer, BaseModel),
    ("Balance", "balance.", Balance, BaseModel),
    ("Sampling of restorers", "sampling.", Sampling, BaseModel),
    ("Validation of restorers", "validation.", Validation, BaseModel),
]
_NAMES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    dict: "keys and values",
}


def page() -> str:
    """The page in Markdown: a table for each class, with the value, the default and the meaning of each key."""
    return _INTRODUCTION + "".join(_section(*one) for one in _SECTIONS)


def attributes(kind: type) -> dict[str, str]:
    """{name: text} of the section "Attributes" of a class's docstring."""
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes\n----------\n")
    entries = re.split(r"^(\w+): ", section.partition("\n\n")[0], flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in zip(entries[1::2], entries[2::2], strict=True)}


def _section(title: str, prefix: str, kind: type[BaseModel], base: type[BaseModel]) -> str:
    meanings = attributes(kind)
    summary = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    lines = [f"\n## {title}\n", f"{summary}\n", "| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in kind.model_fields.items():
        if name not in base.model_fields:
            lines.append(f"| `{prefix}{name}` | {_value(field)} | {_default(field)} | {meanings[name]} |")
    return "\n".join(lines) + "\n"


def _value(field: FieldInfo) -> str:
    return " ".join([_type(field.annotation), *_limits(field.metadata)])


def _limits(metadata: list[Any]) -> list[str]:
    signs = {Gt: ("> ", "gt"), Ge: ("≥ ", "ge"), Lt: ("< ", "lt")}
    return [
        f"{sign}{getattr(one, name):g}"
        for one in metadata
        for kind, (sign, name) in signs.items()
        if isinstance(one, kind)
    ]


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one) for one in arguments if one is not type(None))
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"list of {count}{_type(arguments[0])}s"
    if hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys, see below"
    return _NAMES[origin or annotation]


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, BaseModel):
        return ""
    if isinstance(field.default, tuple):
        return f"[{', '.join(map(str, field.default))}]"
    if field.default is None or isinstance(field.default, bool):
        return str(field.default).lower()
    return str(field.default)


if __name__ == "__main__":
    print(page(), end="")
