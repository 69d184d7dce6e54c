"""Checks the arguments of the functions that are written in Python, with errors that name them."""

from __future__ import annotations

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def type_error(name: str, takes: str, value: object) -> TypeError:
    """Return the error for a wrong type. It has the type of what came, not the value."""
    if value is None:
        came = "None"
    else:
        came = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return TypeError(f"{name} takes {takes}, not {came}")


def text_or_none(name: str, value: Any) -> str | None:
    """Return a str or None."""
    if value is not None and not isinstance(value, str):
        raise type_error(name, "a str or None", value)
    return value


def path(name: str, value: Any) -> str:
    """Return a path as a str."""
    import os

    # The class of a path has the method too.
    if isinstance(value, type) or not isinstance(value, (str, os.PathLike)):
        raise type_error(name, "a path", value)
    found = os.fspath(value)
    if not isinstance(found, str):
        raise type_error(name, "a path that is a str", found)
    return found


def path_or_none(name: str, value: Any) -> str | None:
    """Return a path as a str, or None."""
    return None if value is None else path(name, value)


def seconds(name: str, value: Any) -> float:
    """Return a number of seconds or a timedelta as seconds."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, type) or not hasattr(value, "total_seconds"):
        raise type_error(name, "seconds or a timedelta", value)
    return float(value.total_seconds())


def items_of(name: str, takes: str, value: Any) -> list[Any]:
    """Return the items of an iterable. One str or mapping is a mistake: it is one thing."""
    try:
        items = None if isinstance(value, (str, bytes, dict)) else iter(value)
    except TypeError:
        items = None
    if items is None:
        raise type_error(name, takes, value)
    return list(items)


def texts_of(name: str, takes: str, value: Any) -> list[str]:
    """Return the items of an iterable of str."""
    items = items_of(name, takes, value)
    for item in items:
        if not isinstance(item, str):
            raise TypeError(f"{name} takes {takes}, not a list of {type(item).__name__}")
    return items
