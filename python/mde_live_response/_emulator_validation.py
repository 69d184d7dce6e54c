"""Validates the arguments of the emulator's methods, with errors that name the bounds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from . import _arguments as arguments
from ._native import Profile
from .errors import InvalidRequestError

MAX_SECONDS = 1e9
"""The longest duration in seconds, about thirty years."""


def integer(name: str, value: Any, low: int, high: int) -> int:
    """Return an integer between two bounds."""
    # bool is a subclass of int: without this check, True would count as 1.
    if isinstance(value, bool | type) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r}; it must be a whole number")
    number = int(value.__index__())
    if not low <= number <= high:
        raise InvalidRequestError(f"{name} is {number}; it must be between {low} and {high}")
    return number


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return a number between two bounds."""
    if isinstance(value, bool | str | type) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} is {value!r}; it must be a number")
    converted = float(value)
    # Written so that NaN fails too.
    if not low <= converted <= high:
        raise InvalidRequestError(f"{name} is {value!r}; it must be between {low:g} and {high:g}")
    return converted


def seconds(name: str, value: Any) -> float:
    """Return a duration in seconds."""
    return number(name, value, 0, MAX_SECONDS)


def speed(value: Any) -> float:
    """Return the speed of the clock."""
    converted = number("speed", value, 0, 1e6)
    if converted == 0:
        raise InvalidRequestError("speed is 0; it must be above 0, and at most 1e+06")
    return converted


def boolean(name: str, value: Any) -> bool:
    """Return a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; it must be True or False")
    return value


def text(name: str, value: Any) -> str:
    """Return a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it must be a str")
    return value


def binary(name: str, value: Any) -> bytes:
    """Return bytes."""
    if not isinstance(value, bytes):
        raise TypeError(f"{name} is {value!r}; it must be bytes")
    return value


def content(name: str, value: Any) -> bytes | str:
    """Return bytes, or the path of a local file as a str."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} is {value!r}; it must be bytes or a path")
    return arguments.path(name, value)


def certificate(value: Any) -> tuple[str, str] | None:
    """Return the paths of a certificate and its key, or None."""
    if value is None:
        return None
    takes = "a pair of paths, of the certificate and of its key"
    paths = arguments.items_of("certificate", takes, value)
    if len(paths) != 2:
        raise InvalidRequestError(f"certificate has {len(paths)} items; it must be {takes}")
    return arguments.path("certificate", paths[0]), arguments.path("certificate", paths[1])


def proxy_port(value: Any) -> int | None:
    """Return the port of the proxy, 0 for any, or None without a proxy."""
    if isinstance(value, bool):
        return 0 if value else None
    return integer("proxy", value, 1, 65535)


def as_json(what: str, values: Any) -> str:
    """Return a mapping of names to values as the JSON that the core parses."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{what} is {values!r}; it must be a mapping of names to values")
    for name, value in values.items():
        text(f"a name in {what}", name)
        try:
            json.dumps(value, allow_nan=False)
        except TypeError as error:
            raise TypeError(f"{what} {name} is {value!r}, which JSON cannot represent") from error
        except ValueError as error:
            raise InvalidRequestError(
                f"{what} {name} is {value!r}, which JSON cannot represent"
            ) from error
    return json.dumps(dict(values))


def merge_switches(profile: Any, switches: Any) -> Any:
    """Return the switches of a profile, replaced by those that are given."""
    if profile is None:
        return {} if switches is None else switches
    if isinstance(profile, type) or not isinstance(profile, Profile | str | os.PathLike):
        raise TypeError(f"profile is {profile!r}; it must be a Profile or the path of one")
    if not isinstance(profile, Profile):
        profile = Profile.load(arguments.path("profile", profile))
    if switches is None:
        return profile.observed
    return {**profile.observed, **switches} if isinstance(switches, Mapping) else switches
