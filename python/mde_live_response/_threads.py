"""Starts threads of the system, also where gevent or eventlet replaced `threading`.

Their threads are greenlets, which run only while the event loop of their thread runs. Rust waits
for the work of our threads, so a greenlet would never get to run.
"""

from __future__ import annotations

import _thread
import sys

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from typing import Any

_BUILTIN = type(len)


def _original(module: str, name: str) -> Any:
    """Return a member of a module as the interpreter made it, or None."""
    gevent, eventlet = (sys.modules.get(m) for m in ("gevent.monkey", "eventlet.patcher"))
    if gevent is not None and gevent.is_module_patched(module):
        try:
            return gevent.get_original(module, name)
        except AttributeError:
            return None
    if eventlet is not None and eventlet.already_patched:
        return getattr(eventlet.original(module), name, None)
    return getattr(sys.modules[module], name, None)


# Taken when the module is imported: what is patched later does not matter.
_start_new_thread = _original("_thread", "start_new_thread")
allocate_lock = _original("_thread", "allocate_lock")
"""Makes a lock that blocks the thread, and not only a greenlet."""


def is_patched() -> bool:
    """Return whether `threading` makes greenlets in this process."""
    return not isinstance(_thread.start_new_thread, _BUILTIN)


def start_thread(work: Callable[[], object], name: str) -> None:
    """Start a daemon thread. It is an `OSError` if the system refuses one.

    It is a `LiveResponseError` if the interpreter is exiting, which then refuses threads.
    """
    try:
        if is_patched():
            _start_new_thread(work, ())
        else:
            import threading

            threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            from ._base_error import LiveResponseError

            raise LiveResponseError(
                f"the thread {name} cannot start: the interpreter is exiting",
                hint="make the call before the exit handlers (atexit) run",
            ) from error
        raise OSError(
            f"the system refuses to start the thread {name}: this process or its user has as many "
            "threads as it may have. Raise that limit: ulimit -u, or the container's limit of "
            "processes (pids)"
        ) from error


def new_event_loop() -> AbstractEventLoop:
    """Make an event loop that waits in the system, and not in a hub of greenlets."""
    import asyncio

    if not is_patched():
        return asyncio.new_event_loop()
    import selectors

    # A hub in a thread without other greenlets raises LoopExit, and the loop would end.
    kinds = {"epoll": "EpollSelector", "kqueue": "KqueueSelector"}
    for name, base in kinds.items():
        original = _original("select", name)
        if original is not None and hasattr(selectors, base):
            attributes = {"_selector_cls": original}
            return asyncio.SelectorEventLoop(type(base, (getattr(selectors, base),), attributes)())
    attributes = {"_select": staticmethod(_original("select", "select"))}
    selector = type("SelectSelector", (selectors.SelectSelector,), attributes)()
    return asyncio.SelectorEventLoop(selector)
