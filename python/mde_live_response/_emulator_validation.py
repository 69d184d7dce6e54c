"""What is given to the emulator, checked: each wrong value is one error that says what, and the bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import InvalidRequestError

MAX_SECONDS = 1e9
"""Seconds, about thirty years: the longest stretch that may be asked for."""


def integer(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r}; it has to be a whole number")
    number = int(value.__index__())
    if not low <= number <= high:
        raise InvalidRequestError(f"{name} is {number}; it has to be between {low} and {high}")
    return number


def number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} is {value!r}; it has to be a number")
    given = float(value)
    if not low <= given <= high:
        raise InvalidRequestError(f"{name} is {value!r}; it has to be between {low:g} and {high:g}")
    return given


def seconds(name: str, value: Any) -> float:
    return number(name, value, 0, MAX_SECONDS)


def speed(value: Any) -> float:
    given = number("speed", value, 0, 1e6)
    if given == 0:
        raise InvalidRequestError("speed is 0; it has to be above 0, and at most 1e+06")
    return given


def boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; it has to be True or False")
    return value


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it has to be a str")
    return value


def as_json(what: str, values: Any) -> str:
    """A mapping of names to values as the core reads it."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{what} is {values!r}; it has to be a mapping of names to values")
    for name, value in values.items():
        text(f"a name in {what}", name)
        try:
            json.dumps(value, allow_nan=False)
        except TypeError as error:
            raise TypeError(f"{what} {name} is {value!r}, which JSON has nothing for") from error
        except ValueError as error:
            raise InvalidRequestError(
                f"{what} {name} is {value!r}, which JSON has nothing for"
            ) from error
    return json.dumps(dict(values))
