"""The parameters of degradations: which values are valid, and how a value is drawn if several are given."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medley.errors import MedleyError


@dataclass(frozen=True)
class Limits:
    """The default and the valid values of a number: low < value <= high; with `closed` also low itself.

    A range [low, high] may be given in place of a number. A value is then drawn from it: uniformly, with `logarithmic`
    uniformly on a logarithmic scale, and with `whole` uniformly among the integers from low to high.

    Attributes
    ----------
    optional: None is valid too.
    whole: only integers are valid.
    implied: a record may lack this parameter, which then has its default; `Degradation.draw` leaves it out where it has
        its default. For parameters that were added after records had been written.
    """

    default: float | None
    low: float
    high: float = math.inf
    closed: bool = False
    whole: bool = False
    optional: bool = False
    logarithmic: bool = False
    implied: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a single value is valid."""
        if value is None:
            return self.optional
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            return False
        if self.whole and not isinstance(value, int):
            return False
        return (self.low <= value if self.closed else self.low < value) and value <= self.high

    def check(self, what: str, given: Any) -> None:
        """Raise a MedleyError if neither a valid value nor a valid range is given; `what` begins the sentence."""
        if not isinstance(given, list | tuple):
            check_value(self, what, given)
            return
        if any(end is None or not self.holds(end) for end in given):
            raise MedleyError(f"{what} is {list(given)}, but both ends of the range must be {self}")
        if len(given) != 2 or given[0] > given[1]:
            raise MedleyError(f"{what} is {list(given)}, but a range is [low, high] with low <= high")

    def draw(self, given: Any, rng: np.random.Generator) -> Any:
        """A value from the range that is given; a single value is returned as it is, without use of `rng`."""
        if not isinstance(given, list | tuple):
            return given
        low, high = given
        if self.whole:
            return int(rng.integers(low, high, endpoint=True))
        if self.logarithmic:
            return float(np.clip(np.exp(rng.uniform(*np.log(given))), low, high))
        return float(rng.uniform(low, high))

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"{'from' if self.closed else 'above'} {self.low:g}"
        high = f" to {self.high:g}" if math.isfinite(self.high) else " upwards" if self.closed else ""
        return f"{kind} {low}{high}"


@dataclass(frozen=True)
class Names:
    """The default and the valid values of a name. From a list of names one is drawn, all equally often.

    Attributes
    ----------
    expected: the valid names, for messages.
    valid: whether a text is a valid name.
    implied: as for `Limits`.
    """

    default: str
    expected: str
    valid: Callable[[str], bool]
    implied: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a single value is valid."""
        return isinstance(value, str) and self.valid(value)

    def check(self, what: str, given: Any) -> None:
        """Raise a MedleyError if neither a valid name nor a list of them is given; `what` begins the sentence."""
        if isinstance(given, list | tuple) and not given:
            raise MedleyError(f"{what} is an empty list, but each name must be {self}")
        for value in given if isinstance(given, list | tuple) else [given]:
            check_value(self, what, value)

    def draw(self, given: Any, rng: np.random.Generator) -> Any:
        """One of the names that are given; a single name is returned as it is, without use of `rng`."""
        return given[rng.integers(len(given))] if isinstance(given, list | tuple) else given

    def __str__(self) -> str:
        return self.expected


Parameter = Limits | Names


def either(*names: str, implied: bool = False) -> Names:
    """One of two or more names; the first is the default."""
    return Names(names[0], f"{', '.join(names[:-1])} or {names[-1]}", names.__contains__, implied)


def check_value(parameter: Parameter, what: str, value: Any) -> None:
    """Raise a MedleyError if a single value is not valid; `what` begins the sentence."""
    if not parameter.holds(value):
        raise MedleyError(f"{what} is {value!r}, but it must be {parameter}")
