"""Tables that users can extend: entries by name, those of the package and those of plugins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

from medley.errors import MedleyError
from medley.runtime.names import check_name
from medley.runtime.text import did_you_mean

T = TypeVar("T")

_registered: list[tuple[Registry[Any], str]] = []  # what `register` added to all tables, in order


class Registry(Mapping[str, T]):
    """Entries by name. A text "module:name" stands for an entry that is imported when it is first used.

    Parameters
    ----------
    what: what an entry is, for messages, such as "network".
    expected: what `register` accepts, for messages, such as "a class"; fits: whether it accepts an entry.
    entries: those of the package. reserved: names that an entry cannot have.
    """

    def __init__(
        self,
        what: str,
        expected: str,
        fits: Callable[[Any], bool],
        entries: Mapping[str, T | str],
        reserved: Collection[str] = (),
    ) -> None:
        self.what, self.reserved = what, reserved
        self._expected, self._fits, self._entries = expected, fits, dict(entries)

    def register(self, name: str, entry: T) -> None:
        """Add an entry.

        Raises
        ------
        MedleyError: the name is taken, or cannot be that of a file; the entry is of another kind.
        """
        check_name(name, f"the {self.what}")
        if name in self.reserved:
            raise MedleyError(
                f"a {self.what} cannot be called {name!r}, which has another meaning; choose another name"
            )
        if name in self:
            raise MedleyError(f"there is already a {self.what} {name!r}; choose another name")
        if not self._fits(entry):
            raise MedleyError(f"the {self.what} {name!r} must be {self._expected}, but is {entry!r:.60}")
        self._entries[name] = entry
        _registered.append((self, name))

    def named(self, name: str) -> T:
        """The entry of that name.

        Raises
        ------
        MedleyError: there is none; the message lists those that exist.
        """
        if name not in self:
            several = self.what + ("es" if self.what.endswith("s") else "s")
            known = f"{', '.join(self)}{did_you_mean(name, self)}"
            raise MedleyError(f"there is no {self.what} {name!r}; the {several} are {known}")
        return self[name]

    def __getitem__(self, name: str) -> T:
        return resolved(self._entries[name])

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def resolved(entry: Any) -> Any:
    """The object that a text "module:name" stands for; any other entry is returned as it is."""
    if not isinstance(entry, str):
        return entry
    module, _, name = entry.partition(":")
    return getattr(import_module(module), name)


def registered() -> int:
    """How many entries were added to all tables so far."""
    return len(_registered)


def remove_registered(count: int) -> None:
    """Remove all entries that were added after the first `count`."""
    while len(_registered) > count:
        table, name = _registered.pop()
        del table._entries[name]
