"""The faults of a process and of its system, and when each occurs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from .cells import StoreKind
from .steps import Step
from .system_stores import RedisStore, SqliteStore, can_mount

if TYPE_CHECKING:
    from collections.abc import Callable

    from .system import SystemCase

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
MOMENTS = (Step.LIST, Step.SUBMIT, Step.POLL, Step.LINK)
"""The answers that are held back while the fault is made."""
SHARED = (StoreKind.SQLITE, StoreKind.REDIS)
ALL = tuple(StoreKind)
AWAY = 1.0
"""How long a fault lasts that passes, in seconds."""


@dataclass(frozen=True)
class SystemFault:
    """Something that happens to a process, to its store or to its disk."""

    name: str
    stores: tuple[StoreKind, ...]
    moments: tuple[Step | None, ...]
    """When it happens. None is before the call."""
    make: Callable[[SystemCase], None]
    remove: Callable[[SystemCase], None]
    passes: bool = False
    """Whether the fault is over while the call still runs, and must be survived."""
    is_local: bool = False
    """Whether the error may be an OSError: the disk, the files or the threads of this machine."""
    limit: str | None = None
    """The limit under which the process runs."""
    ends_process: bool = False
    why_not: str | None = None
    """Why this machine cannot make it, or None."""


def nothing(case: SystemCase) -> None:
    pass


def put_back(how: str, case: SystemCase) -> None:
    case.store.put_back(how)


def set_clock(step: str, case: SystemCase) -> None:
    case.set_clock(step)


def passing(
    make: Callable[[SystemCase], None], remove: Callable[[SystemCase], None]
) -> Callable[[SystemCase], None]:
    def both(case: SystemCase) -> None:
        make(case)
        time.sleep(AWAY)
        remove(case)

    return both


def store_faults() -> Iterator[SystemFault]:
    no_mount = None if can_mount() else "only root can mount a file system"
    pairs: list[tuple[str, Callable[[SystemCase], None], Callable[[SystemCase], None]]] = [
        ("store away", lambda case: case.store.go_away(), lambda case: case.store.come_back()),
        ("store full", lambda case: case.store.fill(), lambda case: case.store.make_room()),
    ]
    for name, make, remove in pairs:
        yield SystemFault(f"{name}, for good", SHARED, MOMENTS, make, remove, why_not=no_mount)
        yield SystemFault(
            f"{name} for {AWAY:g} s",
            SHARED,
            MOMENTS,
            passing(make, remove),
            nothing,
            passes=True,
            why_not=no_mount,
        )
    yield SystemFault(
        "store read-only",
        SHARED,
        (None,),
        lambda case: case.store.lock(),
        lambda case: case.store.unlock(),
        why_not=no_mount,
    )
    for kind, ways in ((StoreKind.SQLITE, SqliteStore.WAYS), (StoreKind.REDIS, RedisStore.WAYS)):
        for how in ways:
            yield SystemFault(
                f"store put back: {how}",
                (kind,),
                (Step.SUBMIT, Step.POLL),
                partial(put_back, how),
                lambda case: case.store.repair(),
                why_not=no_mount,
            )
    yield SystemFault(
        "store replaced by an empty one",
        SHARED,
        MOMENTS,
        lambda case: case.store.empty(),
        lambda case: case.store.repair(),
        why_not=no_mount,
    )


def process_faults() -> Iterator[SystemFault]:
    yield SystemFault(
        "kill -9",
        ALL,
        MOMENTS,
        lambda case: case.signal(signal.SIGKILL),
        nothing,
        ends_process=True,
    )
    yield SystemFault(
        f"stopped for {AWAY:g} s",
        ALL,
        MOMENTS,
        passing(lambda case: case.signal(signal.SIGSTOP), lambda case: case.signal(signal.SIGCONT)),
        nothing,
        passes=True,
    )
    no_clock = None if FAKETIME.exists() else "libfaketime is not installed"
    for name, step in (("forward by an hour", "+3600"), ("back by an hour", "-3600")):
        yield SystemFault(
            f"clock set {name}",
            ALL,
            MOMENTS,
            partial(set_clock, step),
            nothing,
            passes=True,
            why_not=no_clock,
        )


def limit_faults() -> Iterator[SystemFault]:
    yield SystemFault(
        "disk full for the results",
        ALL,
        (None,),
        lambda case: case.fill_saved(),
        lambda case: case.empty_saved(),
        is_local=True,
        why_not=None if can_mount() else "only root can mount a file system",
    )
    for name, limit in (
        ("no file handle left", "files"),
        ("no thread left", "threads"),
        ("no memory left", "memory"),
        ("no file may grow", "file size"),
    ):
        yield SystemFault(
            name,
            ALL,
            (None,),
            nothing,
            nothing,
            is_local=True,
            limit=limit,
        )


def system_cells() -> Iterator[tuple[SystemFault, StoreKind, Step | None]]:
    for fault in (*store_faults(), *process_faults(), *limit_faults()):
        for store, moment in product(fault.stores, fault.moments):
            yield fault, store, moment
