"""Calls a credential that the caller wrote or took from azure-identity.

The calls run on Python threads: a thread with Rust frames would abort the process if the
interpreter shut down while it waits.
"""

from __future__ import annotations

import os
import sys
import weakref

from . import _threads
from ._base_error import LiveResponseError

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable, Coroutine, Iterable
    from typing import Any

THREAD_NAME = "mde-live-response-credential"
LOOP_START_TIMEOUT = 0.25
"""Seconds within which an event loop must start a coroutine. A loop that does not is blocked."""


class CredentialAdapter:
    """A credential, and the event loop for its coroutines if it is asynchronous.

    The first choice is the loop that was running when the client was created. The second choice is
    a loop of our own, because the caller's loop may be blocked by a blocking call, or closed.
    """

    # An aiohttp session belongs to the loop that used it first. So the loop that once worked for a
    # credential is remembered, for all clients that use the credential.

    def __init__(self, credential: Any, scope: str) -> None:
        self._credential, self._scope = credential, scope
        asyncio: Any = sys.modules.get("asyncio")
        self._caller_loop: AbstractEventLoop | None = asyncio and asyncio._get_running_loop()
        self._loop_memo = _get_loop_memo(credential)

    def fetch(
        self, resolve: Callable[[Any, BaseException | None], None], claims: str | None
    ) -> Callable[[], None] | None:
        """Request a token on a new thread, and pass the result to `resolve(value, exception)`.

        The value is a token with its expiry. `claims` are the claims of a claims challenge, which
        the new token must have. Returns None, or the work that is left to the caller because the
        interpreter is exiting and starts no thread.
        """

        def work() -> None:
            # BaseException: a SystemExit of the credential must reach the caller of the API, too.
            try:
                value = self._request_token(claims)
                if hasattr(value, "__await__"):
                    _run_in_shared_loop(self._resolve_awaited(value, claims, resolve), value)
                    return
                value = parse_token(value)
            except BaseException as error:
                resolve(None, error)
            else:
                resolve(value, None)

        try:
            _threads.start_thread(work, THREAD_NAME)
        except LiveResponseError:
            return work
        return None

    def _request_token(self, claims: str | None) -> Any:
        """Call `get_token` or `get_token_info` of azure-identity, or else a plain function."""
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

    async def _resolve_awaited(
        self,
        awaitable: Awaitable[Any],
        claims: str | None,
        resolve: Callable[[Any, BaseException | None], None],
    ) -> None:
        # A SystemExit that leaves a task would stop the event loop.
        try:
            value = await self._await_token(awaitable, claims)
        except BaseException as error:
            resolve(None, error)
        else:
            resolve(value, None)

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
            # aiohttp raises RuntimeError if its session belongs to another loop: try the next one.
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
    """Return the keyword arguments for a claims challenge that the method accepts."""
    if claims is None:
        return {}
    import inspect

    given = {"claims": claims, "enable_cae": enable_cae}
    try:
        known = inspect.signature(get_token).parameters
    except (TypeError, ValueError):
        # A method written in C may have no signature: try all keywords.
        return given
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return given
    return {name: value for name, value in given.items() if name in known}


class _LoopMemo:
    """The event loop on which a credential's coroutines succeeded."""

    loop: AbstractEventLoop | None = None


_loop_memos: weakref.WeakKeyDictionary[Any, _LoopMemo] = weakref.WeakKeyDictionary()


def _get_loop_memo(credential: Any) -> _LoopMemo:
    try:
        return _loop_memos.setdefault(credential, _LoopMemo())
    except TypeError:
        # Some credentials are not hashable or not weakly referenceable. Their loop is found again.
        return _LoopMemo()


async def _await_in_loop(
    loop: AbstractEventLoop, awaitable: Awaitable[Any]
) -> tuple[Any, BaseException | None] | None:
    """Await in `loop` and return the value and the exception. Returns None if `loop` is blocked."""
    import asyncio

    current_loop = asyncio.get_running_loop()
    started = current_loop.create_future()

    async def work() -> tuple[Any, BaseException | None]:
        current_loop.call_soon_threadsafe(started.set_result, None)
        # The exception is returned: a SystemExit that leaves a task would stop the event loop.
        try:
            return await awaitable, None
        except BaseException as error:
            return None, error

    if loop is current_loop:
        return await work()
    remote = asyncio.run_coroutine_threadsafe(work(), loop)
    await asyncio.wait({started}, timeout=LOOP_START_TIMEOUT)
    # If the cancel fails, the coroutine has already started: wait for it.
    if not started.done() and remote.cancel():
        return None
    return await asyncio.wrap_future(remote)


def _close(awaitable: Any) -> None:
    if hasattr(awaitable, "close"):
        awaitable.close()


_shared_loop: tuple[int, AbstractEventLoop | None] = (0, None)
_shared_loop_lock = _threads.allocate_lock()


def get_shared_loop() -> AbstractEventLoop:
    """Return this process's event loop for credentials, which runs on a daemon thread."""
    global _shared_loop
    with _shared_loop_lock:
        pid, loop = _shared_loop
        # After a fork that skipped Python's hooks, the thread of the loop does not exist here.
        if loop is None or pid != os.getpid():
            loop = _threads.new_event_loop()
            _threads.start_thread(loop.run_forever, THREAD_NAME)
            _shared_loop = os.getpid(), loop
        return loop


_tasks: set[Any] = set()
"""The tasks of the shared loop, which itself keeps none alive."""


def _run_in_shared_loop(coroutine: Coroutine[Any, Any, None], awaitable: Awaitable[Any]) -> None:
    """Run a coroutine that awaits `awaitable`. Both are closed if there is no loop."""

    def start() -> None:
        task = loop.create_task(coroutine)
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    try:
        loop = get_shared_loop()
    except BaseException:
        coroutine.close()
        _close(awaitable)
        raise
    loop.call_soon_threadsafe(start)


def _after_fork() -> None:
    # The lock may have been held by another thread of the parent when it forked.
    global _shared_loop, _shared_loop_lock
    _shared_loop, _shared_loop_lock = (0, None), _threads.allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def parse_token(result: Any) -> tuple[str, float | None]:
    """Return the token and its expiry, if known, from a str or an azure-identity token."""
    if isinstance(result, str):
        return result, None
    token, expires_on = getattr(result, "token", None), getattr(result, "expires_on", None)
    if not isinstance(token, str):
        raise TypeError(f"the credential returned a {type(result).__name__}, not a token")
    return token, None if expires_on is None else float(expires_on)
