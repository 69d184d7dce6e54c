"""Real networks: proxies, TLS interception, private authorities, HTTP/2, and failures."""

from __future__ import annotations

import socket
import struct
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pki_helpers import make_authority, make_expired, make_signed
from proxy_helpers import Proxy, RecordingServer, nghttpx, squid, tinyproxy
from runtime_helpers import MACHINE, free_port, requests_of, run_python

from mde_live_response import Command, ConnectionFailedError, LiveResponseClient
from mde_live_response.emulator import Emulator

CONTENT = b"collected " * 1000
NAMES = (
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def populate(emulator: Emulator) -> None:
    emulator.add_library_file("a.ps1", b"")
    emulator.put_remote_file("*", "C:\\a.txt", CONTENT)


@pytest.fixture
def tls() -> Iterator[Emulator]:
    with Emulator(tls=True, speed=50.0) as emulator:
        populate(emulator)
        yield emulator


def host(url: str) -> str:
    return url.removeprefix("https://")


def everything(client: LiveResponseClient, folder: Path) -> None:
    """Make a login, API calls and a download."""
    result = client.run(
        MACHINE, [Command.run_script("a.ps1"), Command.get_file("C:\\a.txt")], "why", save_to=folder
    )
    assert result.ok
    (collected,) = folder.rglob("*a.txt")
    assert collected.read_bytes() == CONTENT


def failure(client: LiveResponseClient) -> ConnectionFailedError:
    with pytest.raises(ConnectionFailedError) as caught:
        client.get_machine(MACHINE)
    return caught.value


# Proxies


def tunnels(proxy: Proxy) -> list[str]:
    """Return the hosts that a proxy was asked to connect to."""
    return [
        line.split(": CONNECT ")[1].split()[0]
        for line in proxy.log.splitlines()
        if ": CONNECT " in line
    ]


@pytest.mark.parametrize("way", ["argument", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_forwards_calls_to_all_three_hosts(
    way: str, tls: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tinyproxy(tmp_path) as proxy:
        if way != "argument":
            monkeypatch.setenv(way, proxy.url)
        with tls.client(proxy=proxy.url if way == "argument" else None) as client:
            everything(client, tmp_path / "out")
        targets = tunnels(proxy)
    asked = {call["headers"]["host"] for call in tls.requests}
    assert len(asked) > 1
    assert set(targets) == asked
    assert {call["route"] for call in tls.requests} >= {"token", "runliveresponse", "blob"}


def test_a_tunnel_is_reused(tls: Emulator, tmp_path: Path) -> None:
    with tinyproxy(tmp_path) as proxy, tls.client(proxy=proxy.url) as client:
        for _ in range(11):
            client.list_machine_actions()
        # A call may start before the connection of the one before it is back in the pool.
        assert len(tunnels(proxy)) <= 2
    assert len(requests_of(tls, "machineactions")) == 11


@pytest.mark.parametrize("way", ["argument", "HTTPS_PROXY"])
def test_the_proxy_login_is_sent(
    way: str, tls: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tinyproxy(tmp_path, "BasicAuth user secret") as proxy:
        url = f"http://user:secret@{proxy.address}"
        if way != "argument":
            monkeypatch.setenv(way, url)
        with tls.client(proxy=url if way == "argument" else None) as client:
            everything(client, tmp_path / "out")


def test_a_proxy_login_with_special_characters() -> None:
    with RecordingServer() as proxy, Emulator(tls=True) as emulator:
        with emulator.client(proxy=f"http://us%40er:p%40ss%3Aw%C3%B6rd@{proxy.address}") as client:
            failure(client)
        given = {
            line.split()[-1]
            for head in proxy.heads
            for line in head
            if line.lower().startswith("proxy-auth")
        }
    assert {b64decode(login).decode() for login in given} == {"us@er:p@ss:wörd"}


@pytest.mark.parametrize(
    ("login", "said"),
    [("", "requires a user and a password"), ("user:wr0ng@", "refused the user and password")],
)
def test_a_refused_proxy_login_is_not_retried(login: str, said: str, tls: Emulator) -> None:
    refusal = (
        b"HTTP/1.1 407 Proxy Authentication Required\r\n"
        b"Proxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
    )
    with (
        RecordingServer(refusal) as proxy,
        tls.client(proxy=f"http://{login}{proxy.address}") as client,
    ):
        error = failure(client)
        assert len(proxy.heads) == 1
    assert f"the proxy {proxy.address} {said}" in str(error)
    assert "wr0ng" not in f"{error!r}{error}"
    assert not error.retryable
    assert tls.requests == []


@pytest.mark.parametrize(
    ("login", "said"),
    [("", "requires a user and a password"), ("user:wr0ng@", "check the user and password")],
)
def test_a_real_proxy_refuses_a_wrong_login(
    login: str, said: str, tls: Emulator, tmp_path: Path
) -> None:
    """Tinyproxy answers a wrong login with 401 instead of 407."""
    with (
        tinyproxy(tmp_path, "BasicAuth user secret") as proxy,
        tls.client(proxy=f"http://{login}{proxy.address}") as client,
    ):
        error = failure(client)
    assert f"the proxy {proxy.address}" in str(error)
    assert said in str(error)
    assert "wr0ng" not in f"{error!r}{error}"
    assert tls.requests == []


def test_the_error_names_the_proxy_and_the_blocked_host(tls: Emulator, tmp_path: Path) -> None:
    with tinyproxy(tmp_path, "ConnectPort 1") as proxy, tls.client(proxy=proxy.url) as client:
        error = failure(client)
    assert f"the proxy {proxy.address} refused to connect to 127.0.0.1" in str(error)
    assert "ask the administrators of the proxy" in str(error)


def test_the_error_names_an_unreachable_proxy(tls: Emulator) -> None:
    with tls.client(proxy=f"http://127.0.0.1:{free_port()}") as client:
        error = failure(client)
    assert "the proxy 127.0.0.1:" in str(error)
    assert "refused the connection" in str(error)


@pytest.mark.parametrize(
    ("around", "direct"),
    [
        ("127.0.0.0/8", True),
        ("10.0.0.0/8, 127.0.0.1/32", True),
        ("127.0.0.1", True),
        ("*", True),
        ("10.0.0.0/8,127.0.0.2/32", False),
        ("example.test", False),
    ],
)
@pytest.mark.parametrize("way", ["argument", "HTTPS_PROXY"])
def test_no_proxy_accepts_addresses_and_networks(
    way: str,
    around: str,
    direct: bool,
    tls: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", around)
    with RecordingServer() as proxy:
        if way != "argument":
            monkeypatch.setenv(way, proxy.url)
        with tls.client(proxy=proxy.url if way == "argument" else None) as client:
            if direct:
                everything(client, tmp_path / "out")
            else:
                failure(client)
        assert bool(proxy.heads) is not direct


def test_an_empty_proxy_disables_proxies(
    tls: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RecordingServer() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with tls.client(proxy=False) as client:
            everything(client, tmp_path / "out")
        assert proxy.heads == []


# A proxy that intercepts TLS


@pytest.fixture
def named() -> Iterator[Emulator]:
    """An emulator with a host name: squid's certificates for IP addresses are not valid."""
    with Emulator(tls=True, speed=50.0, host="localhost") as emulator:
        populate(emulator)
        yield emulator


@pytest.fixture
def intercepting_proxy(named: Emulator, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The proxy's address, and the PEM file of its certificate authority."""
    trusted = make_authority(tmp_path, "interceptor")
    assert named.ca_bundle is not None
    both = (tmp_path / "interceptor.key").read_bytes() + trusted.read_bytes()
    with squid(both, Path(named.ca_bundle).read_bytes()) as proxy:
        yield proxy.url, trusted


@pytest.mark.parametrize("way", ["argument", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_an_intercepting_proxy_is_trusted_by_its_ca(
    way: str,
    intercepting_proxy: tuple[str, Path],
    named: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, given = intercepting_proxy
    if way != "argument":
        monkeypatch.setenv(way, str(given))
    with named.client(proxy=proxy, ca_bundle=given if way == "argument" else None) as client:
        everything(client, tmp_path / "out")
    # Squid adds a Via header, which proves that it intercepted the calls.
    assert all("squid" in call["headers"]["via"] for call in named.requests)
    assert named.violations == dict.fromkeys(named.violations, 0)


def test_an_intercepting_proxy_is_not_trusted_by_default(
    intercepting_proxy: tuple[str, Path], named: Emulator
) -> None:
    with named.client(proxy=intercepting_proxy[0]) as client:
        error = failure(client)
    assert "failed the TLS handshake (through the proxy" in str(error)
    assert "give its CA as a PEM file in ca_bundle" in str(error)
    assert not error.retryable
    assert named.requests == []


def test_verify_false_trusts_it_and_warns_once(
    intercepting_proxy: tuple[str, Path], named: Emulator
) -> None:
    code = f"""
import logging
from mde_live_response import LiveResponseClient
logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
for _ in range(3):
    options = dict(endpoint={named.url!r}, proxy={intercepting_proxy[0]!r}, verify=False)
    with LiveResponseClient({named.token!r}, **options) as client:
        print(client.get_machine({MACHINE!r}).computer_dns_name)
"""
    done = run_python(code)
    assert done.out.split() == [MACHINE] * 3, done
    assert done.err.count("WARNING verify=False") == 1, done


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
    with Emulator(host="::1", tls=encrypted, speed=50.0) as emulator:
        assert "[::1]" in emulator.url
        populate(emulator)
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


def test_an_unresolvable_name_is_reported(tls: Emulator) -> None:
    # A label of more than 63 characters: a resolver refuses it without a query.
    proxy = f"{'a' * 64}.example.test:3128"
    with tls.client(proxy=f"http://{proxy}", max_wait=1) as client:
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
