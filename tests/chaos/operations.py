"""The operations of the matrix: what a caller does, and what it does once the fault is gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runtime_helpers import wait_until

from mde_live_response import (
    LiveResponseClient,
    SessionResult,
    WaitTimeoutError,
)

from .box import MACHINES, Box
from .cells import Operation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mde_live_response import Fleet, FleetReport, Session

ID = "cell"
COMMENT = "chaos"
LATER = 40.0
"""How long a caller waits for a result that must come."""
SOON = 3.0
"""How long a caller waits for a session to be cancelled."""
QUEUE = 7200.0
"""How long the service keeps a session for a machine that is off, in seconds of its clock."""
PENDING = 0.3
"""How long a session may be Pending before it is cancelled, if the cell is about a cancel."""


@dataclass
class Ended:
    """How a call ended: with results, or with errors."""

    results: dict[str, SessionResult] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)
    of_outcomes: list[BaseException] = field(default_factory=list)
    """Those of the errors that an outcome has, which names its machine."""
    unclear: list[str] = field(default_factory=list)
    """Failures that no error explains."""

    @property
    def is_complete(self) -> bool:
        return not self.errors and not self.unclear and bool(self.results)

    def add(self, result: SessionResult, machine: str) -> None:
        self.results[machine] = result
        for command in result.commands:
            if command.error is not None:
                self.errors.append(command.error)
        if not result.message:
            self.unclear.append(f"a result of {machine} without a message")


class Trial:
    """One operation in its box."""

    def __init__(self, box: Box, operation: Operation, cancels: bool) -> None:
        self.box, self.operation, self.cancels = box, operation, cancels
        is_fleet = operation in (Operation.RUN_MANY, Operation.RESUME)
        # Of two machines one would wait for the slot, and the run would park the other.
        self.machines = MACHINES if is_fleet and not cancels else MACHINES[:1]
        self.pending = PENDING if cancels else None
        self.session: Session | None = None
        self.fleet: Fleet | None = None
        self.client: LiveResponseClient | None = None

    def prepare(self) -> None:
        """Do what comes before the call."""
        if self.cancels:
            self.box.emulator.set_online(self.machines[0], False)
        if self.operation is not Operation.RESUME:
            return
        self.box.set_duration(60.0)
        with self.box.client(LATER) as client, self._start_fleet(client):
            wait_until(self.box.submits, "the first submit", LATER)
        self.box.front.seen.clear()

    def act(self, patience: float) -> Ended:
        """Make the call, while the fault lasts."""
        ended = Ended()
        try:
            self.client = self.box.client(patience)
            self._call(self.client, ended, patience)
        except Exception as error:
            ended.errors.append(error)
        return ended

    def _call(self, client: LiveResponseClient, ended: Ended, patience: float) -> None:
        machine = self.machines[0]
        if self.operation is Operation.RUN:
            ended.add(self._run(client, machine, ID, patience), machine)
        elif self.operation is Operation.SUBMIT:
            self.session = client.submit(
                machine, self.box.commands, COMMENT, correlation_id=ID, timeout=patience
            )
        elif self.operation is Operation.RUN_MANY:
            self.fleet = self._start_fleet(client)
            self._read(self.fleet.report(patience), ended)
        else:
            self.fleet = client.resume(ID)
            self.box.emulator.advance(100)
            self._read(self.fleet.report(patience), ended)

    def _run(
        self,
        client: LiveResponseClient,
        machine: str,
        correlation_id: str | None,
        timeout: float,
    ) -> SessionResult:
        return client.run(
            machine,
            self.box.commands,
            COMMENT,
            save_to=self.box.saved,
            timeout=timeout,
            correlation_id=correlation_id,
            cancel_pending_after=self.pending,
        )

    def _start_fleet(self, client: LiveResponseClient) -> Fleet:
        return client.run_many(
            self.machines,
            self.box.commands,
            COMMENT,
            save_to=self.box.saved,
            run_id=ID,
            cancel_pending_after=self.pending,
        )

    def _read(self, report: FleetReport, ended: Ended) -> None:
        for outcome in report:
            result = outcome.load_result()
            if result is not None:
                ended.add(result, outcome.machine)
            elif (error := outcome.error) is not None:
                ended.errors.append(error)
                ended.of_outcomes.append(error)
            if not outcome.message:
                ended.unclear.append(f"an outcome of {outcome.machine} without a message")

    def recover(self, first: Ended) -> Ended:
        """Do what the documentation says, once the fault is gone: bring every result."""
        ended = Ended()
        try:
            if self.fleet is not None and any_timed_out(first.errors):
                # The run goes on in this process.
                self._wait(self.fleet)
            self.close()
            with self.box.client(LATER) as client:
                self._recover_with(client, first, ended)
        except Exception as error:
            ended.errors.append(error)
        return ended

    def _recover_with(self, client: LiveResponseClient, first: Ended, ended: Ended) -> None:
        if self.operation is Operation.RUN:
            self._fetch_known(client, first)
            ended.add(self._run(client, self.machines[0], ID, LATER), self.machines[0])
        elif self.operation is Operation.SUBMIT:
            ended.add(self._find(client).result(LATER, save_to=self.box.saved), self.machines[0])
        else:
            self._continue(client, ended)

    def _wait(self, fleet: Fleet) -> FleetReport:
        """Wait for the run. A cancel that the service refused is not made again by each run."""
        try:
            return fleet.report(SOON if self.cancels else LATER)
        except WaitTimeoutError:
            if not self.cancels:
                raise
            self.box.emulator.advance(QUEUE)
            return fleet.report(LATER)

    def _fetch_known(self, client: LiveResponseClient, first: Ended) -> None:
        """Fetch the results of an action whose id an error or a result names, from its id alone."""
        if first.is_complete:
            return
        known = {getattr(error, "action_id", None) for error in first.errors}
        known |= {result.action.id for result in first.results.values()}
        for action in known - {None}:
            if not self.cancels:
                assert isinstance(action, str)
                client.session(action).result(LATER).raise_for_status()

    def _find(self, client: LiveResponseClient) -> Session:
        if self.session is not None:
            return client.session(self.session.id)
        found = client.find_session(self.machines[0], ID)
        return found or client.submit(
            self.machines[0], self.box.commands, COMMENT, correlation_id=ID, timeout=LATER
        )

    def _continue(self, client: LiveResponseClient, ended: Ended) -> None:
        """Continue the run. A row that ended without a session is run on its own."""
        try:
            fleet = client.resume(ID)
        except LookupError:
            fleet = self._start_fleet(client)
        for outcome in self._wait(fleet):
            result = outcome.load_result()
            if result is None:
                result = self._run(client, outcome.machine, outcome.correlation_id, LATER)
            ended.add(result, outcome.machine)

    def close(self) -> None:
        if self.fleet is not None:
            self.fleet.close()
        if self.client is not None:
            self.client.close()


def any_timed_out(errors: Iterable[BaseException]) -> bool:
    return any(isinstance(error, WaitTimeoutError) for error in errors)
