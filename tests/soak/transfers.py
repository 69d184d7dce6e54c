"""Tasks of a lane that move files: through a session, to disk, to a file object and as a stream."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import mde_live_response as mde

from .service import REMOTE, SCRIPT
from .sessions import COMMENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .lane import Lane
    from .work import Work


async def through_session(lane: Lane) -> None:
    """Put a file, run a script, and get a file into a folder, with one call."""
    work, machine, token = lane.work, lane.machine, lane.new_id()
    commands = [
        mde.Command.put_local(work.tool),
        mde.Command.run_script(SCRIPT, token),
        mde.Command.get_file(REMOTE),
    ]
    with tempfile.TemporaryDirectory(dir=work.folder) as folder:
        result = await work.persist(
            "run_async",
            lambda: work.client.run_async(
                machine,
                commands,
                COMMENT,
                correlation_id=token,
                save_to=folder,
                save_transcripts=True,
            ),
        )
        work.check_result(result, token)
        for file in result.files:
            work.check_content(file.path.read_bytes() if file.path else b"")


@contextlib.asynccontextmanager
async def collected(lane: Lane) -> AsyncIterator[tuple[Work, mde.Session]]:
    """Run a session that collects a file, and yield it once it has ended."""
    work, machine, token = lane.work, lane.machine, lane.new_id()
    commands = [mde.Command.run_script(SCRIPT, token), mde.Command.get_file(REMOTE)]
    session = await work.persist(
        "submit_async",
        lambda: work.client.submit_async(machine, commands, COMMENT, correlation_id=token),
    )
    await work.persist("wait_async", session.wait_async)
    yield work, session
    work.check_result(await work.persist("result_async", session.result_async), token)


async def to_disk(lane: Lane) -> None:
    async with collected(lane) as (work, session):
        with tempfile.TemporaryDirectory(dir=work.folder) as folder:
            target = Path(folder) / "collected.bin"
            await work.persist("download_async", lambda: session.download_async(1, target))
            work.check_content(target.read_bytes())


async def to_file_object(lane: Lane) -> None:
    async with collected(lane) as (work, session):

        async def download() -> bytes:
            target = io.BytesIO()
            await session.download_async(1, target)
            return target.getvalue()

        work.check_content(await work.persist("download_async", download))


async def streamed(lane: Lane) -> None:
    """Read a file as a stream, and leave another stream after its first piece."""
    async with collected(lane) as (work, session):

        async def read() -> bytes:
            return b"".join([piece async for piece in session.stream(1)])

        work.check_content(await work.persist("stream", read))

        async def start() -> None:
            stream = session.stream(1)
            try:
                assert await stream.__anext__()
            finally:
                await stream.aclose()

        await work.persist("stream", start)
