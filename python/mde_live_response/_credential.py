"""Calls the caller's own credential, on threads that hold no Rust frame when the interpreter ends. Private."""

from __future__ import annotations

import os
import sys
import threading
import weakref

TYPE_CHECKING = False  # `typing` is most of what an import would cost
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any

THREAD_NAME = "mde-live-response-credential"
PATIENCE = 0.25
"""Seconds in which a loop has to take a coroutine up; one that does not is taken for blocked."""


class Source:
    """A credential, and where its coroutines run if it is an asynchronous one.

    That is the loop that ran where the client was made, to which an azure-identity credential is tied that was entered
    there by `async with`; else one loop of ours, for the caller's may be blocked by a blocking call, or closed. An
    HTTP session of aiohttp's belongs to the loop that used it first, so the one that served a credential is kept to,
    by all its clients.
    """

    def __init__(self, credential: Any, scope: str) -> None:
        self._credential, self._scope = credential, scope
        asyncio: Any = sys.modules.get("asyncio")
        self._callers: AbstractEventLoop | None = asyncio and asyncio._get_running_loop()
        self._served = _served_of(credential)

    def fetch(self, resolve: Callable[[Any, BaseException | None], None], claims: str | None) -> None:
        """Ask for a token on a thread of its own, and give what comes to `resolve(value, exception)`.

        With `claims`, those of a claims challenge, for a new one that has them.

        The value is a token and its expiry, or a coroutine for `own_loop()` to run, which gives such a value and such
        an exception: a SystemExit would leave the loop by its task, and end it.
        """

        def work() -> None:
            try:
                value = self._ask(claims)
                value = self._caught(value, claims) if hasattr(value, "__await__") else describe(value)
            except BaseException as error:
                resolve(None, error)
            else:
                resolve(value, None)

        threading.Thread(target=work, name=THREAD_NAME, daemon=True).start()

    def _ask(self, claims: str | None) -> Any:
        """Call it in the way that it has: azure-identity's two, else as a function."""
        get_token = getattr(self._credential, "get_token", None)
        if get_token is not None:
            return get_token(self._scope, **_options(get_token, claims=claims, enable_cae=True))
        get_token_info = getattr(self._credential, "get_token_info", None)
        if get_token_info is not None:
            options = {"claims": claims, "enable_cae": True}
            return get_token_info(self._scope, options=options) if claims else get_token_info(self._scope)
        return self._credential()

    async def _caught(self, awaitable: Awaitable[Any], claims: str | None) -> tuple[Any, BaseException | None]:
        try:
            return await self._awaited(awaitable, claims), None
        except BaseException as error:
            return None, error

    async def _awaited(self, awaitable: Awaitable[Any], claims: str | None) -> tuple[str, float | None]:
        refused: RuntimeError | None = None
        for loop in self._loops():
            outcome = await _within(loop, awaitable)
            if outcome is None:
                continue
            value, error = outcome
            if error is None:
                self._served.loop = loop
                return describe(value)
            if not isinstance(error, RuntimeError) or self._served.loop is loop:
                raise error
            # As aiohttp says it of a session that belongs to another loop.
            refused = refused or error
            awaitable = self._ask(claims)
        _close(awaitable)
        raise refused or RuntimeError("the event loop of the credential is blocked")

    def _loops(self) -> Iterable[AbstractEventLoop]:
        callers = self._callers
        if callers is not None and (callers.is_closed() or not callers.is_running()):
            callers = self._callers = None
        own = own_loop()
        loops = [loop for loop in (callers, own) if loop is not None]
        return reversed(loops) if self._served.loop is own else loops


def _options(get_token: Callable[..., Any], *, claims: str | None, enable_cae: bool) -> dict[str, Any]:
    """The keywords for a claims challenge, as far as the method takes them; none without one."""
    if claims is None:
        return {}
    import inspect

    given = {"claims": claims, "enable_cae": enable_cae}
    try:
        known = inspect.signature(get_token).parameters
    except (TypeError, ValueError):  # written in C, perhaps
        return given
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return given
    return {name: value for name, value in given.items() if name in known}


class _Served:
    """Which loop a credential's coroutines ran on when they came to something."""

    loop: AbstractEventLoop | None = None


_all_served: weakref.WeakKeyDictionary[Any, _Served] = weakref.WeakKeyDictionary()


def _served_of(credential: Any) -> _Served:
    try:
        return _all_served.setdefault(credential, _Served())
    except TypeError:  # neither hashable nor weakly referred to, perhaps
        return _Served()


async def _within(loop: AbstractEventLoop, awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None] | None:
    """Await in `loop`, for value and exception; None from a loop that does not take it up: it is blocked.

    Not the task's own exception: a SystemExit would leave the loop by it, and end it.
    """
    import asyncio

    here = asyncio.get_running_loop()
    begun = here.create_future()

    async def work() -> tuple[Any, BaseException | None]:
        here.call_soon_threadsafe(begun.set_result, None)
        try:
            return await awaitable, None
        except BaseException as error:
            return None, error

    if loop is here:
        return await work()
    elsewhere = asyncio.run_coroutine_threadsafe(work(), loop)
    await asyncio.wait({begun}, timeout=PATIENCE)
    if not begun.done() and elsewhere.cancel():
        return None
    return await asyncio.wrap_future(elsewhere)


def _close(awaitable: Any) -> None:
    if hasattr(awaitable, "close"):
        awaitable.close()


_own: tuple[int, AbstractEventLoop | None] = (0, None)
_own_lock = threading.Lock()


def own_loop() -> AbstractEventLoop:
    """One loop of this process's on a daemon thread, for all credentials: several clients may share one."""
    import asyncio

    global _own
    with _own_lock:
        made_in, loop = _own
        if loop is None or made_in != os.getpid():
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name=THREAD_NAME, daemon=True).start()
            _own = os.getpid(), loop
        return loop


def _after_fork() -> None:
    global _own, _own_lock
    _own, _own_lock = (0, None), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def describe(answer: Any) -> tuple[str, float | None]:
    """Give the token and its expiry, where it tells one, of a str or of azure-identity's answers."""
    if isinstance(answer, str):
        return answer, None
    token, expires_on = getattr(answer, "token", None), getattr(answer, "expires_on", None)
    if not isinstance(token, str):
        raise TypeError(f"the credential gave a {type(answer).__name__}, not a token")
    return token, None if expires_on is None else float(expires_on)
