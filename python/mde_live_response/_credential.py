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
LOOP_START_TIMEOUT = 0.25
"""Seconds in which a loop has to take a coroutine up; one that does not is taken for blocked."""


class CredentialAdapter:
    """A credential, and where its coroutines run if it is an asynchronous one.

    That is the loop that ran where the client was made, to which an azure-identity credential is tied that was entered
    there by `async with`; else one loop of ours, for the caller's may be blocked by a blocking call, or closed. An
    HTTP session of aiohttp's belongs to the loop that used it first, so the one that served a credential is kept to,
    by all its clients.
    """

    def __init__(self, credential: Any, scope: str) -> None:
        self._credential, self._scope = credential, scope
        asyncio: Any = sys.modules.get("asyncio")
        self._caller_loop: AbstractEventLoop | None = asyncio and asyncio._get_running_loop()
        self._loop_memo = _get_loop_memo(credential)

    def fetch(
        self, resolve: Callable[[Any, BaseException | None], None], claims: str | None
    ) -> None:
        """Ask for a token on a thread of its own, and give what comes to `resolve(value, exception)`.

        With `claims`, those of a claims challenge, for a new one that has them.

        The value is a token and its expiry, or a coroutine for `get_shared_loop()` to run, which gives such a value and such
        an exception: a SystemExit would leave the loop by its task, and end it.
        """

        def work() -> None:
            try:
                value = self._request_token(claims)
                value = (
                    self._await_caught(value, claims)
                    if hasattr(value, "__await__")
                    else parse_token(value)
                )
            except BaseException as error:
                resolve(None, error)
            else:
                resolve(value, None)

        threading.Thread(target=work, name=THREAD_NAME, daemon=True).start()

    def _request_token(self, claims: str | None) -> Any:
        """Call it in the way that it has: azure-identity's two, else as a function."""
        get_token = getattr(self._credential, "get_token", None)
        if get_token is not None:
            return get_token(
                self._scope, **_claims_options(get_token, claims=claims, enable_cae=True)
            )
        get_token_info = getattr(self._credential, "get_token_info", None)
        if get_token_info is not None:
            options = {"claims": claims, "enable_cae": True}
            return (
                get_token_info(self._scope, options=options)
                if claims
                else get_token_info(self._scope)
            )
        return self._credential()

    async def _await_caught(
        self, awaitable: Awaitable[Any], claims: str | None
    ) -> tuple[Any, BaseException | None]:
        try:
            return await self._await_token(awaitable, claims), None
        except BaseException as error:
            return None, error

    async def _await_token(
        self, awaitable: Awaitable[Any], claims: str | None
    ) -> tuple[str, float | None]:
        refused: RuntimeError | None = None
        for loop in self._candidate_loops():
            outcome = await _await_in_loop(loop, awaitable)
            if outcome is None:
                continue
            value, error = outcome
            if error is None:
                self._loop_memo.loop = loop
                return parse_token(value)
            if not isinstance(error, RuntimeError) or self._loop_memo.loop is loop:
                raise error
            # As aiohttp says it of a session that belongs to another loop.
            refused = refused or error
            awaitable = self._request_token(claims)
        _close(awaitable)
        raise refused or RuntimeError("the event loop of the credential is blocked")

    def _candidate_loops(self) -> Iterable[AbstractEventLoop]:
        caller_loop = self._caller_loop
        if caller_loop is not None and (caller_loop.is_closed() or not caller_loop.is_running()):
            caller_loop = self._caller_loop = None
        own = get_shared_loop()
        loops = [loop for loop in (caller_loop, own) if loop is not None]
        return reversed(loops) if self._loop_memo.loop is own else loops


def _claims_options(
    get_token: Callable[..., Any], *, claims: str | None, enable_cae: bool
) -> dict[str, Any]:
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


class _LoopMemo:
    """Which loop a credential's coroutines ran on when they came to something."""

    loop: AbstractEventLoop | None = None


_loop_memos: weakref.WeakKeyDictionary[Any, _LoopMemo] = weakref.WeakKeyDictionary()


def _get_loop_memo(credential: Any) -> _LoopMemo:
    try:
        return _loop_memos.setdefault(credential, _LoopMemo())
    except TypeError:  # neither hashable nor weakly referred to, perhaps
        return _LoopMemo()


async def _await_in_loop(
    loop: AbstractEventLoop, awaitable: Awaitable[Any]
) -> tuple[Any, BaseException | None] | None:
    """Await in `loop`, for value and exception; None from a loop that does not take it up: it is blocked.

    Not the task's own exception: a SystemExit would leave the loop by it, and end it.
    """
    import asyncio

    current_loop = asyncio.get_running_loop()
    started = current_loop.create_future()

    async def work() -> tuple[Any, BaseException | None]:
        current_loop.call_soon_threadsafe(started.set_result, None)
        try:
            return await awaitable, None
        except BaseException as error:
            return None, error

    if loop is current_loop:
        return await work()
    remote = asyncio.run_coroutine_threadsafe(work(), loop)
    await asyncio.wait({started}, timeout=LOOP_START_TIMEOUT)
    if not started.done() and remote.cancel():
        return None
    return await asyncio.wrap_future(remote)


def _close(awaitable: Any) -> None:
    if hasattr(awaitable, "close"):
        awaitable.close()


_shared_loop: tuple[int, AbstractEventLoop | None] = (0, None)
_shared_loop_lock = threading.Lock()


def get_shared_loop() -> AbstractEventLoop:
    """One loop of this process's on a daemon thread, for all credentials: several clients may share one."""
    import asyncio

    global _shared_loop
    with _shared_loop_lock:
        pid, loop = _shared_loop
        if loop is None or pid != os.getpid():
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name=THREAD_NAME, daemon=True).start()
            _shared_loop = os.getpid(), loop
        return loop


def _after_fork() -> None:
    global _shared_loop, _shared_loop_lock
    _shared_loop, _shared_loop_lock = (0, None), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def parse_token(result: Any) -> tuple[str, float | None]:
    """Give the token and its expiry, where it tells one, of a str or of azure-identity's answers."""
    if isinstance(result, str):
        return result, None
    token, expires_on = getattr(result, "token", None), getattr(result, "expires_on", None)
    if not isinstance(token, str):
        raise TypeError(f"the credential gave a {type(result).__name__}, not a token")
    return token, None if expires_on is None else float(expires_on)
