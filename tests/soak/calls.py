"""Tasks of a lane without a session: the library, lists, mistakes, a new client and a fork."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import mde_live_response as mde

if TYPE_CHECKING:
    from .lane import Lane

COMMENT = "endurance"


async def library(lane: Lane) -> None:
    work, library, name = lane.work, lane.work.client.library, f"own-{lane.number}.txt"
    content = lane.random.randbytes(2000)
    await work.persist("upload", lambda: library.upload_async(content, name=name, overwrite=True))
    files = await work.persist("list_files", library.list_files_async)
    assert name in [file.file_name for file in files], files

    async def delete() -> None:
        # The service may have acted on a call whose answer was lost.
        try:
            await library.delete_async(name)
        except mde.NotFoundError:
            work.tally.did("deletes of what was deleted")

    await work.persist("delete", delete)


async def library_folder(lane: Lane) -> None:
    """Bring the library in step with a folder that changes."""
    work = lane.work
    folder = work.folder / f"scripts-{lane.number}"
    folder.mkdir(exist_ok=True)
    for at in range(3):
        (folder / f"lane-{lane.number}-{at}.sh").write_text(f"# {lane.random.random()}\nid\n")
    sync = work.client.library.sync_async
    await work.persist("sync", lambda: sync(folder, delete=True))


async def lists(lane: Lane) -> None:
    work, client, machine = lane.work, lane.work.client, lane.machine
    assert await work.persist("list_machines", client.list_machines_async)
    await work.persist("list_machine_actions", lambda: client.list_machine_actions_async(top=20))
    await work.persist("list_sessions", client.list_sessions_async)
    await work.persist("list_runs", client.list_runs_async)
    await work.persist("get_machine", lambda: client.get_machine_async(machine))
    find = client.find_session_async
    assert await work.persist("find_session", lambda: find(machine, "no")) is None


async def mistakes(lane: Lane) -> None:
    """Make errors: of the service, of an argument, and of a type."""
    work, client, command = lane.work, lane.work.client, mde.Command.run_script("soak.ps1")
    try:
        await work.persist("run_async", lambda: client.run_async("nobody", command, COMMENT))
    except mde.NotFoundError:
        work.tally.did("errors expected")
    try:
        mde.Command.run_script("no script")
    except mde.InvalidRequestError:
        work.tally.did("errors expected")
    try:
        await client.run_async(lane.machine, [], COMMENT)
    except mde.InvalidRequestError:
        work.tally.did("errors expected")


async def new_client(lane: Lane) -> None:
    """Make a client, use it in a thread, and close it."""
    work, machine = lane.work, lane.machine

    def use() -> mde.Machine:
        with work.new_client() as client:
            return client.get_machine(machine)

    await work.persist("get_machine", lambda: asyncio.to_thread(use))


async def fork(lane: Lane) -> None:
    """Fork a child that makes one call, while the other lanes work."""
    work, machine = lane.work, lane.machine
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work.client.get_machine(machine).id else 1
        except mde.LiveResponseError as error:
            code = 0 if error.retryable else 2
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    work.tally.did("forks")
    assert os.waitstatus_to_exitcode(status) == 0, f"the child ended with {status}"
