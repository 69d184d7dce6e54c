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
    from collections.abc import Callable
    from typing import Any

_BUILTIN = type(len)


def _original(name: str) -> Any:
    """Return a function of `_thread` as the interpreter made it."""
    function = getattr(_thread, name)
    if isinstance(function, _BUILTIN):
        return function
    gevent, eventlet = (sys.modules.get(m) for m in ("gevent.monkey", "eventlet.patcher"))
    if gevent is not None and gevent.is_module_patched("threading"):
        function = gevent.get_original("_thread", name)
    elif eventlet is not None:
        function = getattr(eventlet.original("_thread"), name)
    return function


# Taken when the module is imported: what is patched later does not matter.
_start_new_thread = _original("start_new_thread")
allocate_lock = _original("allocate_lock")
"""Makes a lock that blocks the thread, and not only a greenlet."""


def is_patched() -> bool:
    """Return whether `threading` makes greenlets in this process."""
    return not isinstance(_thread.start_new_thread, _BUILTIN)


def start_thread(work: Callable[[], object], name: str) -> None:
    """Start a daemon thread. It is an `OSError` if the system refuses one."""
    try:
        if is_patched():
            _start_new_thread(work, ())
        else:
            import threading

            threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError as error:
        # The other reason is that the interpreter is exiting.
        if "can't start new thread" not in str(error):
            raise
        raise OSError(
            f"the system refuses to start the thread {name}: this process or its user has as many "
            "threads as it may have. Raise that limit: ulimit -u, or the container's limit of "
            "processes (pids)"
        ) from error
