"""The objects of a list share what they were decoded from."""

from __future__ import annotations

import gc
import threading

from mde_live_response.emulator import Emulator

#: More than are freed by the thread that drops the last object.
COUNT = 300


def test_an_object_outlives_its_list() -> None:
    with Emulator(machines=COUNT) as emulator, emulator.client() as client:
        machines = client.list_machines()
        ids = [machine.id for machine in machines]
        assert len(set(ids)) == COUNT
        for at in (0, COUNT // 2, COUNT - 1):
            kept = client.list_machines()[at]
            gc.collect()
            assert (kept.id, kept.raw["id"]) == (ids[at], ids[at])
            assert kept == machines[at]


def test_lists_end_in_many_threads() -> None:
    """Each thread drops the last objects of lists that the others use."""
    with Emulator(machines=COUNT) as emulator, emulator.client() as client:
        shared = [list(client.list_machines()) for _ in range(3)]
        names = {machine.computer_dns_name for machine in shared[0]}
        seen: list[str | None] = []

        def drop() -> None:
            for machines in shared:
                while machines:
                    try:
                        seen.append(machines.pop().computer_dns_name)
                    except IndexError:  # Another thread took the last one.
                        break

        threads = [threading.Thread(target=drop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(map(str, seen)) == sorted(map(str, [*names] * 3))
