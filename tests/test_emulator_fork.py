"""The emulator in a forked child: the child can send requests, and holds no socket of it."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from emulator_helpers import call

from mde_live_response.emulator import Emulator

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]


@pytest.fixture
def box() -> Iterator[Emulator]:
    with Emulator(speed=50) as emulator:
        yield emulator


def in_child(act: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(20)
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_cannot_change_it(box: Emulator) -> None:
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            call(box, "GET", "/api/libraryfiles")

    def child() -> None:
        for method in (
            lambda: box.violations,
            lambda: box.token_with("x"),
            lambda: box.advance(1),
        ):
            with pytest.raises(RuntimeError, match="belongs to the process"):
                method()
        assert call(box, "GET", "/api/machines")[0] in (200, 429)
        box.close()

    # The first call imports modules. A fork during an import would leave its lock held in the
    # child.
    call(box, "GET", "/api/machines")
    worker = threading.Thread(target=load)
    worker.start()
    try:
        assert [in_child(child) for _ in range(20)] == [0] * 20
    finally:
        stop.set()
        worker.join()
    assert call(box, "GET", "/api/machineactions")[0] == 200


def address(emulator: Emulator) -> tuple[str, int]:
    host, port = emulator.url.split("//")[1].split(":")
    return host, int(port)


@pytest.fixture
def sleeping_child() -> Iterator[Callable[[], None]]:
    """Return a function that forks a child, which sleeps until the test ends."""
    children: list[tuple[int, int]] = []

    def fork() -> None:
        (asleep, notify), (wake, over) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            os.close(over)
            os.write(notify, b"x")
            os.read(wake, 1)
            os._exit(0)
        assert os.read(asleep, 1) == b"x"
        for descriptor in (asleep, notify, wake):
            os.close(descriptor)
        children.append((pid, over))

    yield fork
    for pid, over in children:
        os.close(over)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("options", [{}, {"tls": True}, {"host": "0.0.0.0"}], ids=str)
@pytest.mark.filterwarnings("ignore:the emulator listens:UserWarning")
def test_a_child_keeps_no_port_open(
    options: dict[str, str], sleeping_child: Callable[[], None]
) -> None:
    with Emulator(**options) as box:  # type: ignore[arg-type]
        sleeping_child()
        host, port = address(box)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=10)
    with Emulator(port=port):
        pass


def test_a_child_keeps_no_connection_open(
    box: Emulator, sleeping_child: Callable[[], None]
) -> None:
    with socket.create_connection(address(box), timeout=10) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(8) == b"HTTP/1.1"
        sleeping_child()
        box.close()
        while connection.recv(4096):
            pass


def test_a_child_can_start_its_own_emulator(box: Emulator) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(address(box)) as connection,
    ):

        def child() -> None:
            other.getsockname()
            connection.getpeername()
            with Emulator() as own:
                assert call(own, "GET", "/api/machines")[0] == 200
                assert in_child(lambda: None) == 0
                assert call(own, "GET", "/api/machines")[0] == 200
            assert call(box, "GET", "/api/machines")[0] == 200
            assert f"served by process {os.getppid()}" in repr(box)

        assert in_child(child) == 0
    assert call(box, "GET", "/api/machines")[0] == 200
