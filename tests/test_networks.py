"""Real networks: private authorities, HTTP/2, IPv6, and failures."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from network_helpers import clear_variables, everything, failure, fast_emulator
from pki_helpers import make_authority, make_expired, make_signed
from proxy_helpers import nghttpx
from runtime_helpers import MACHINE, free_port

from mde_live_response import LiveResponseClient
from mde_live_response.emulator import Emulator


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_variables(monkeypatch)


# HTTP/2, IPv6, and trust


@contextmanager
def http2_frontend(
    folder: Path, *, names: str = "IP:127.0.0.1"
) -> Iterator[tuple[Emulator, str, Path, Path]]:
    """An emulator behind nghttpx: emulator, proxy URL, PEM file of the authority, proxy log."""
    root = make_authority(folder, "root")
    make_signed(folder, "front", "root", names)
    with (
        Emulator() as emulator,
        nghttpx(
            folder, folder / "front.crt", folder / "front.key", emulator.url.removeprefix("http://")
        ) as front,
    ):
        yield emulator, f"https://{front.address}", root, folder / "nghttpx.log"


def test_http_2_is_used_if_offered(tmp_path: Path) -> None:
    with http2_frontend(tmp_path) as (emulator, url, root, log):
        with LiveResponseClient(emulator.token, endpoint=url, ca_bundle=root) as client:
            names = [client.get_machine(name).computer_dns_name for name in (MACHINE, "ws-0002")]
        protocols = {line.split()[-1] for line in log.read_text().splitlines()}
    assert names == [MACHINE, "ws-0002.example.test"]
    assert protocols == {"HTTP/2"}


@pytest.mark.parametrize("way", ["argument", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_given_authority_is_trusted(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http2_frontend(tmp_path) as (emulator, url, root, _):
        with LiveResponseClient(emulator.token, endpoint=url) as client:
            assert "UnknownIssuer" in str(failure(client))
        if way != "argument":
            monkeypatch.setenv(way, str(root))
        bundle = root if way == "argument" else None
        with LiveResponseClient(emulator.token, endpoint=url, ca_bundle=bundle) as client:
            assert client.get_machine(MACHINE).computer_dns_name == MACHINE


def test_a_certificate_of_another_host_is_reported(tmp_path: Path) -> None:
    with (
        http2_frontend(tmp_path, names="DNS:elsewhere.example.test") as (emulator, url, root, _),
        LiveResponseClient(emulator.token, endpoint=url, ca_bundle=root) as client,
    ):
        error = failure(client)
    assert "the certificate is for another host" in str(error)
    assert not error.retryable


def test_an_expired_certificate_is_reported(tmp_path: Path) -> None:
    root = make_authority(tmp_path, "root")
    make_signed(tmp_path, "front", "root", "IP:127.0.0.1")
    make_expired(tmp_path, "front", "root")
    with (
        Emulator() as emulator,
        nghttpx(
            tmp_path,
            tmp_path / "front.crt",
            tmp_path / "front.key",
            emulator.url.removeprefix("http://"),
        ) as front,
        LiveResponseClient(
            emulator.token, endpoint=f"https://{front.address}", ca_bundle=root
        ) as client,
    ):
        error = failure(client)
    assert "check the clock of this machine" in str(error)


@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_ipv6(encrypted: bool, tmp_path: Path) -> None:
    with fast_emulator(host="::1", tls=encrypted) as emulator:
        assert "[::1]" in emulator.url
        with emulator.client() as client:
            everything(client, tmp_path / "out")


# Failures


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Pass each connection to `serve`, and yield host and port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.settimeout(10)
                        serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def reset(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def not_tls(connection: socket.socket) -> None:
    connection.recv(1)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def close(connection: socket.socket) -> None:
    connection.recv(65536)


@pytest.mark.parametrize(
    ("scheme", "serve", "said"),
    [
        ("http", reset, "closed the connection"),
        ("http", close, "closed the connection"),
        ("https", reset, "could not be connected to"),
        ("https", not_tls, "failed the TLS handshake"),
    ],
)
def test_a_broken_connection_is_reported(
    scheme: str, serve: Callable[[socket.socket], None], said: str
) -> None:
    with (
        listener(serve) as address,
        LiveResponseClient("token", endpoint=f"{scheme}://{address}", max_wait=1) as client,
    ):
        error = failure(client)
    assert said in str(error)
    assert address.split(":")[0] in str(error)


def test_a_refused_connection_is_reported() -> None:
    port = free_port()
    with LiveResponseClient("token", endpoint=f"http://127.0.0.1:{port}", max_wait=1) as client:
        error = failure(client)
    assert "127.0.0.1 refused the connection" in str(error)
    assert "check host and port" in str(error)


def test_an_unresolvable_name_is_reported() -> None:
    # A label of more than 63 characters: a resolver refuses it without a query.
    proxy = f"{'a' * 64}.example.test:3128"
    with (
        Emulator(tls=True) as emulator,
        emulator.client(proxy=f"http://{proxy}", max_wait=1) as client,
    ):
        error = failure(client)
    assert f"the proxy {proxy} could not be found in DNS" in str(error)


def test_a_connect_timeout_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as held:
        # Once the backlog is full, the kernel does not answer new connections.
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with LiveResponseClient("token", endpoint=url, connect_timeout=0.3, max_wait=1) as client:
            error = failure(client)
    assert "could not be connected to in time" in str(error)
    assert "see connect_timeout" in str(error)


def test_a_response_timeout_is_reported() -> None:
    with Emulator() as emulator:
        emulator.fault("GET", "/api/machines", "delay", seconds=30, times=100)
        with emulator.client(request_timeout=0.3, max_wait=1) as client:
            error = failure(client)
    assert "did not answer in time" in str(error)
    assert "see request_timeout" in str(error)
