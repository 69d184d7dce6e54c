"""Makes the `..._async` methods of the binding coroutine functions to frameworks that ask.

Starlette, APScheduler, tenacity and `unittest.mock` call `inspect.iscoroutinefunction`, or that of
asyncio, to decide whether to await what a function returns. Methods of a Rust class cannot be
marked, so functions that call them take their place.
"""

from __future__ import annotations

import sys
from types import FunctionType

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_CO_COROUTINE = 0x80


def mark_async_methods(classes: Iterable[type]) -> None:
    """Replace the `..._async` methods of classes by functions that call them."""
    for cls in classes:
        for name, method in list(vars(cls).items()):
            if name.endswith("_async"):
                setattr(cls, name, _coroutine_function(cls, name, method))


def _coroutine_function(cls: type, name: str, method: Callable[..., Any]) -> Any:
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return method(self, *args, **kwargs)

    function: Any = call
    if sys.version_info >= (3, 11):
        # The mark of `inspect.markcoroutinefunction` would need `inspect`, which takes longer to
        # import than this package. This flag is what an `async def` has; it makes no coroutine.
        code = call.__code__.replace(co_flags=call.__code__.co_flags | _CO_COROUTINE)
        function = FunctionType(code, call.__globals__, name, None, call.__closure__)
    else:
        # Python 3.10 makes a coroutine of every function with the flag.
        from asyncio import coroutines

        function._is_coroutine = coroutines._is_coroutine  # type: ignore[attr-defined]
    function.__name__, function.__qualname__ = name, f"{cls.__name__}.{name}"
    function.__module__, function.__doc__ = cls.__module__, method.__doc__
    # `inspect.signature` reads the signature there.
    function.__wrapped__ = method
    return function
