"""The config of an emulator, and the arguments that take precedence over it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from . import _arguments as arguments
from . import _emulator_validation as validation
from ._native import EmulatorConfig, Limits, Rate
from .errors import InvalidRequestError

MAX_DEPTH = 50
"""How deep mappings and lists may be in each other."""


class DefaultCount(int):
    """The default of an argument. The same number as an argument takes precedence over a config."""

    __slots__ = ()


class DefaultSpeed(float):
    """As `DefaultCount`, for the speed."""

    __slots__ = ()


MACHINES: Final = DefaultCount(3)
SEED: Final = DefaultCount(0)
SPEED: Final = DefaultSpeed(1.0)

Value = TypeVar("Value")


def read(value: Any) -> EmulatorConfig | None:
    """Return the config of a mapping or of a file, or None."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return EmulatorConfig.from_json(json.dumps(_plain("config", value, 0)))
    if isinstance(value, str | os.PathLike) and not isinstance(value, type):
        return EmulatorConfig.from_file(arguments.path("config", value))
    raise TypeError(f"config is {value!r}; it must be a mapping or the path of a file")


def chosen(argument: Value, configured: Value | None) -> Value:
    """Return an argument that was given, or else what the config says, or else the default."""
    is_default = argument is None or isinstance(argument, DefaultCount | DefaultSpeed)
    return configured if is_default and configured is not None else argument


def machines(config: EmulatorConfig | None, argument: Any) -> int:
    """Return the number of numbered machines."""
    count = chosen(argument, config and config.machines)
    return validation.integer("machines", count, 0, 1_000_000)


def switches(config: EmulatorConfig | None, profile: Any, given: Any) -> str:
    """Return the switches as JSON: the given ones, then the config's, then the profile's."""
    if config is None or not (given is None or isinstance(given, Mapping)):
        return validation.as_json("switches", validation.merge_switches(profile, given))
    configured: dict[str, Any] = json.loads(config.switches)
    merged = validation.merge_switches(profile, {**configured, **(given or {})})
    return validation.as_json("switches", merged)


def _plain(name: str, value: Any, depth: int) -> Any:
    """Return a value of a config as one that JSON can represent."""
    if depth > MAX_DEPTH:
        raise InvalidRequestError(f"{name} is too deep: a config is {MAX_DEPTH} levels at most")
    if isinstance(value, Limits | Rate):
        return value.to_dict()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        plain = {}
        for key, item in value.items():
            key = validation.text(f"a key of {name}", key)
            if key == "content" and isinstance(item, bytes):
                plain["content_base64"] = base64.b64encode(item).decode()
            else:
                plain[key] = _plain(f"{name}.{key}", item, depth + 1)
        return plain
    if isinstance(value, list | tuple):
        return [_plain(f"{name}[{at}]", item, depth + 1) for at, item in enumerate(value)]
    if callable(value):
        raise TypeError(f"{name} is {value!r}; a config has no callables: use on_script for one")
    try:
        json.dumps(value, allow_nan=False)
    except TypeError as error:
        raise TypeError(f"{name} is {value!r}, which JSON cannot represent") from error
    except ValueError as error:
        raise InvalidRequestError(f"{name} is {value!r}, which JSON cannot represent") from error
    return value
