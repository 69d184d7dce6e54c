"""Collected files and the library over real HTTP. A file is complete, or there is none."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from runtime_helpers import MACHINE, requests_of, wait_until

from mde_live_response import (
    AlreadyExistsError,
    Command,
    DownloadError,
    InvalidRequestError,
    LiveResponseClient,
    LiveResponseError,
    Session,
)
from mde_live_response.emulator import Emulator

CONTENT = random.Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(speed=50.0) as emulator:
        yield emulator


def collected(
    emulator: Emulator,
    client: LiveResponseClient,
    content: bytes = CONTENT,
    path: str = "C:\\a.dmp",
) -> Session:
    emulator.put_remote_file("*", path, content)
    session = client.submit(MACHINE, Command.get_file(path), "why")
    session.wait()
    return session


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def sockets() -> list[str]:
    """Return the sockets of this process, including those of the emulator."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(entry.readlink()))
    return [each for each in found if each.startswith("socket:")]


# Targets


def test_a_file_reports_its_size_and_hash(
    emulator: Emulator, client: LiveResponseClient, tmp_path: Path
) -> None:
    file = collected(emulator, client).download(0, tmp_path / "b.dmp")
    assert Path(str(file.path)).read_bytes() == CONTENT
    assert (file.size, file.sha256, file.name, file.payload) == (
        len(CONTENT),
        SHA256,
        "a.dmp",
        "gzip",
    )
    assert file.received_size > file.size, "noise does not pack"
    assert file.received_sha256 != SHA256
    assert file.to_dict()["received_sha256"] == file.received_sha256


def test_a_folder_gets_the_file_under_its_own_name(
    emulator: Emulator, client: LiveResponseClient, tmp_path: Path
) -> None:
    file = collected(emulator, client).download(0, tmp_path)
    assert file.path == tmp_path / "0_a.dmp"
    assert files(tmp_path) == ["0_a.dmp"]


def test_a_loop_reads_the_file_in_pieces(emulator: Emulator, client: LiveResponseClient) -> None:
    stream = collected(emulator, client).stream(0)
    assert stream.file is None
    assert b"".join(stream) == CONTENT
    assert stream.file is not None
    assert (stream.file.path, stream.file.sha256) == (None, SHA256)
    assert list(stream) == []


def test_an_async_loop_reads_the_file_in_pieces(emulator: Emulator) -> None:
    async def take() -> bytes:
        async with emulator.client() as client:
            emulator.put_remote_file("*", "C:\\a.dmp", CONTENT)
            session = await client.submit_async(MACHINE, Command.get_file("C:\\a.dmp"), "why")
            await session.wait_async()
            return b"".join([piece async for piece in session.stream(0)])

    assert asyncio.run(take()) == CONTENT


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open sockets are counted in /proc")
def test_leaving_the_loop_ends_the_download(emulator: Emulator, client: LiveResponseClient) -> None:
    big = CONTENT * 10
    stream = collected(emulator, client, big).stream(0)
    assert big.startswith(next(stream))
    during = len(sockets())
    stream.close()
    assert list(stream) == []
    wait_until(lambda: len(sockets()) < during, "the connection's end")


def test_a_loop_without_a_file_raises(emulator: Emulator, client: LiveResponseClient) -> None:
    stream = collected(emulator, client).stream(1)
    with pytest.raises(InvalidRequestError, match="1"):
        next(stream)


def test_an_exception_of_a_file_object_is_raised(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    session = collected(emulator, client)
    with pytest.raises(OSError, match="No space left"):
        session.download(0, Full())
    with pytest.raises(TypeError, match="binary"):
        session.download(0, cast("BinaryIO", 5))


def test_slow_file_objects_do_not_block_other_calls(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    gate, began = threading.Event(), threading.Semaphore(0)

    class Slow(io.BytesIO):
        def write(self, data: bytes, /) -> int:  # type: ignore[override]
            began.release()
            assert gate.wait(30)
            return super().write(data)

    session, slow = collected(emulator, client), [Slow() for _ in range(16)]
    threads = [threading.Thread(target=session.download, args=[0, each]) for each in slow]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert began.acquire(timeout=30)
    quick = io.BytesIO()
    session.download(0, quick)
    assert quick.getvalue() == CONTENT
    gate.set()
    for thread in threads:
        thread.join()
    assert all(each.getvalue() == CONTENT for each in slow)


# Failures


def test_a_cut_connection_is_resumed(
    emulator: Emulator, client: LiveResponseClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = collected(emulator, client)
    for nth in (1, 2, 3):
        emulator.fault("GET", "blob", "truncate", nth=nth, keep=700_000)
    file = session.download(0, tmp_path / "a")
    assert file.sha256 == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest() == SHA256
    ranges = [call["headers"].get("range") for call in requests_of(emulator, "blob")]
    assert ranges[0] is None
    assert all(str(each).startswith("bytes=") for each in ranges[1:])
    assert len(requests_of(emulator, "resultlink")) == 1
    assert caplog.text.count("broke off after") == 3
    assert "closed the connection" in caplog.text
    assert "sig=" not in caplog.text


def test_a_failed_download_leaves_nothing(
    emulator: Emulator, client: LiveResponseClient, tmp_path: Path
) -> None:
    session = collected(emulator, client)
    emulator.fault("GET", "blob", "truncate", keep=700_000)
    emulator.fault("GET", "blob", "status", status=403, nth=2, times=100)
    emulator.fault("GET", "resultlink", "status", status=400, nth=2, times=100)
    with pytest.raises(LiveResponseError):
        session.download(0, tmp_path / "a")
    assert files(tmp_path) == []


def test_a_damaged_gzip_is_an_error_and_leaves_nothing(
    emulator: Emulator, client: LiveResponseClient, tmp_path: Path
) -> None:
    session = collected(emulator, client)
    emulator.fault("GET", "blob", "garble", times=100)
    with pytest.raises(DownloadError):
        session.download(0, tmp_path / "a")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "path",
    [
        "C:\\x\\..\\..\\..\\etc\\passwd",
        "/../../../etc/passwd",
        "C:\\CON",
        "C:\\nul.txt",
        "C:\\a.txt:stream",
        "C:\\" + "a" * 4096,
        "C:\\report\u202egpj.exe",
        "C:\\a\u0007b\u001b[31m.txt",
        "C:\\...",
        "C:\\trailing. . ",
    ],
    ids=lambda path: ascii(path)[:30],
)
def test_a_hostile_name_stays_in_its_folder(
    path: str, emulator: Emulator, client: LiveResponseClient, tmp_path: Path
) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    try:
        session = collected(emulator, client, b"evidence", path)
    except InvalidRequestError:
        assert not requests_of(emulator, "runliveresponse")
        return
    file = session.download(0, folder)
    assert [tmp_path / name for name in files(tmp_path)] == [Path(str(file.path))]
    assert Path(str(file.path)).parent == folder
    name = Path(str(file.path)).name
    assert len(name.encode()) <= 255
    assert name.isprintable()
    assert not set(name) & set('\u202e\\/:*?"<>|')
    assert not name.endswith((".", " "))
    assert file.remote_path == path


# The library


def test_an_oversized_file_is_refused_before_it_is_sent(
    emulator: Emulator, client: LiveResponseClient, tmp_path: Path
) -> None:
    path = tmp_path / "big.bin"
    with path.open("wb") as file:
        file.truncate((20 << 20) + 1)
    with Path("/dev/zero").open("rb") as endless:
        for given in (path, path.read_bytes(), endless):
            with pytest.raises(InvalidRequestError, match=r"big\.bin"):
                client.library.upload(given, name="big.bin")
    assert requests_of(emulator, "libraryfiles") == []
    with path.open("r+b") as file:
        file.truncate(20 << 20)
    assert client.library.upload(path).file_name == "big.bin"


@pytest.mark.parametrize("name", ["", "a/b.ps1", "..", "a b.ps1", "ä.ps1", "a\n.ps1"])
def test_an_invalid_library_name_is_refused(
    name: str, emulator: Emulator, client: LiveResponseClient
) -> None:
    with pytest.raises(InvalidRequestError):
        client.library.upload(b"x", name=name)
    assert emulator.requests == []


def test_ensure_uploads_only_missing_or_changed_files(
    emulator: Emulator, client: LiveResponseClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.ps1"
    path.write_bytes(b"one")
    assert client.library.ensure(path).changed is True
    assert client.library.ensure(path).changed is False
    path.write_bytes(b"two")
    with pytest.raises(AlreadyExistsError):
        client.library.ensure(path)
    with caplog.at_level(logging.WARNING, "mde_live_response"):
        assert client.library.ensure(path, overwrite=True).changed is True
        # On a busy machine, the call does not wait for its log records.
        wait_until(lambda: hashlib.sha256(b"one").hexdigest() in caplog.text, "the warning")
    assert emulator.client_id in caplog.text
    (file,) = client.library.list_files()
    assert file.sha256 == hashlib.sha256(b"two").hexdigest()


def test_an_upload_with_a_lost_answer_is_found(
    emulator: Emulator, client: LiveResponseClient, tmp_path: Path
) -> None:
    path = tmp_path / "a.ps1"
    path.write_bytes(CONTENT)
    emulator.fault("POST", "upload", "drop_after")
    assert client.library.ensure(path).changed is True
    (file,) = client.library.list_files()
    assert file.sha256 == SHA256
