"""Tasks of a lane that run commands. Each ends with the result of its session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import mde_live_response as mde

from .service import SCRIPT, SLOW_SCRIPT

if TYPE_CHECKING:
    from .lane import Lane

COMMENT = "endurance"


async def run_in_loop(lane: Lane) -> None:
    work, machine, token = lane.work, lane.machine, lane.new_id()
    updates: list[mde.MachineAction] = []
    command = mde.Command.run_script(SCRIPT, token)
    result = await work.persist(
        "run_async",
        lambda: work.client.run_async(
            machine, command, COMMENT, correlation_id=token, on_update=updates.append
        ),
    )
    work.check_result(result, token)
    work.tally.did("updates", len(updates))


async def run_in_thread(lane: Lane) -> None:
    work, machine, token = lane.work, lane.machine, lane.new_id()
    command = mde.Command.run_script(SCRIPT, token)
    result = await work.persist(
        "run",
        lambda: asyncio.to_thread(work.client.run, machine, command, COMMENT, correlation_id=token),
    )
    work.check_result(result, token)


async def submit(lane: Lane, script: str, token: str) -> mde.Session:
    work, machine = lane.work, lane.machine
    command = mde.Command.run_script(script, token)
    return await work.persist(
        "submit_async",
        lambda: work.client.submit_async(machine, command, COMMENT, correlation_id=token),
    )


async def fetch_later(lane: Lane) -> None:
    """Submit with one client, and fetch the result with another."""
    work, token = lane.work, lane.new_id()
    session = await submit(lane, SCRIPT, token)
    async with work.new_client() as other:
        same = other.session(session.id)
        result = await work.persist("result_async", same.result_async)
    work.check_result(result, token)


async def wait_too_short(lane: Lane) -> None:
    work, token = lane.work, lane.new_id()
    session = await submit(lane, SLOW_SCRIPT, token)
    try:
        await session.result_async(timeout=0.01)
    except mde.WaitTimeoutError:
        work.tally.did("waits that timed out")
    except mde.LiveResponseError as error:
        if not error.retryable:
            raise
    work.check_result(await work.persist("result_async", session.result_async), token)


async def cancel(lane: Lane) -> None:
    work, token = lane.work, lane.new_id()
    session = await submit(lane, SLOW_SCRIPT, token)
    await work.persist("cancel_async", lambda: session.cancel_async("no longer needed"))
    work.check_result(await work.persist("result_async", session.result_async), token)


async def interrupt(lane: Lane) -> None:
    """Cancel the asyncio task of a call at any of its steps, then make the same call again."""
    work, machine, token = lane.work, lane.machine, lane.new_id()
    command = mde.Command.run_script(SCRIPT, token)

    async def run() -> mde.SessionResult:
        return await work.client.run_async(machine, command, COMMENT, correlation_id=token)

    task = asyncio.create_task(run())
    await asyncio.sleep(lane.random.uniform(0.0, 0.05))
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        work.tally.did("calls interrupted")
    except mde.LiveResponseError as error:
        if not error.retryable:
            raise
    work.check_result(await work.persist("run_async", run), token)


async def fleet(lane: Lane) -> None:
    work, token = lane.work, lane.new_id()
    machines = lane.random.sample(lane.machines, 3)
    command = mde.Command.run_script(SCRIPT, token)
    run = await work.persist(
        "run_many_async",
        lambda: work.client.run_many_async(machines, command, COMMENT, run_id=token),
    )
    outcomes = [outcome async for outcome in run]
    report = await work.persist("report_async", run.report_async)
    assert len(outcomes) == len(report) == len(machines), report
    for outcome in report:
        result = await work.persist("load_result_async", outcome.load_result_async)
        if result is None:
            work.tally.did("sessions lost")
            work.tally.fail("outcome", f"{outcome.reason}: {outcome.message}")
        else:
            work.check_result(result, token)
