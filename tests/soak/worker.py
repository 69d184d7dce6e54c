"""A process that works with one store until its input ends. It prints a sample from time to time.

Lanes work side by side. For a sample, each lane ends what it does and waits: then no call runs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from mde_live_response import LiveResponseError
from mde_live_response._native import prune_memory, prune_state

from . import measure
from .lane import Lane
from .service import LANES
from .tally import Records, Tally
from .work import Work


class Worker:
    """The lanes of one process, and the gate that stops them for a sample."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.tally = Tally()
        self._open = asyncio.Event()
        self._stopped = asyncio.Event()
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._started = time.monotonic()
        self._next_objects = self._next_prune = 0.0
        self.leaks: list[object] = []

    async def run(self) -> None:
        asyncio.get_running_loop().add_reader(sys.stdin, self._stop)
        records = Records(self.tally)
        logging.getLogger("mde_live_response").addHandler(records)
        logging.getLogger("mde_live_response").setLevel(logging.INFO)
        with Work(self.job, self.tally, self.leaks) as work:
            self._open.set()
            lanes = [asyncio.create_task(self._work(Lane(work, number))) for number in range(LANES)]
            while not self._stopped.is_set():
                await self._pause(self.job["every"])
                await self._sample(work)
            self._open.clear()
            await self._idle.wait()
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
        self._print(ended=True, counts=self.tally.counts, wrong=self.tally.wrong)

    def _stop(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin)
        self._stopped.set()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except asyncio.TimeoutError:
            return

    async def _work(self, lane: Lane) -> None:
        """Start one task of a program after the other, at a fixed pace."""
        interval = LANES / self.job["rate"]
        due = time.monotonic() + interval * lane.number / LANES
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            # What a sample or a slow call held up is not caught up with.
            due = max(due + interval, time.monotonic())
            await self._open.wait()
            self._busy += 1
            self._idle.clear()
            try:
                await lane.act()
            finally:
                self._busy -= 1
                if not self._busy:
                    self._idle.set()

    async def _sample(self, work: Work) -> None:
        self._open.clear()
        await self._idle.wait()
        now = time.monotonic() - self._started
        if now >= self._next_prune:
            self._next_prune = now + self.job["prune_every"]
            await self._prune(work)
        # What ended just now is still on its way out of the runtime.
        await asyncio.sleep(0.05)
        count_objects = now >= self._next_objects
        if count_objects:
            self._next_objects = now + self.job["objects_every"]
        self._print(time=now, sample=measure.process(count_objects), counts=self.tally.counts)
        self._open.set()

    async def _prune(self, work: Work) -> None:
        """Do what an operator does from time to time."""
        age = self.job["prune_every"]
        try:
            if work.state == "memory:":
                await asyncio.to_thread(prune_memory, age)
            else:
                await asyncio.to_thread(prune_state, work.state, age)
            await work.client.library.prune_async(older_than=age)
            self.tally.did("prunes")
        except LiveResponseError as error:
            if not error.retryable:
                self.tally.fail("prune", error)

    def _print(self, **line: Any) -> None:
        print(json.dumps(line), flush=True)


def main() -> None:
    # Python 3.12 warns of a fork with threads.
    warnings.simplefilter("ignore", DeprecationWarning)
    job = json.loads(sys.argv[1])
    Path(job["folder"]).mkdir(parents=True)
    asyncio.run(_run(job))


async def _run(job: dict[str, Any]) -> None:
    await Worker(job).run()


if __name__ == "__main__":
    main()
