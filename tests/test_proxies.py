"""Real proxies: forwarding, logins, exceptions, and interception of TLS."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_helpers import clear_variables, everything, failure, fast_emulator
from pki_helpers import make_authority
from proxy_helpers import Proxy, RecordingServer, squid, tinyproxy
from runtime_helpers import MACHINE, free_port, requests_of, run_python

from mde_live_response.emulator import Emulator


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_variables(monkeypatch)


@pytest.fixture
def tls() -> Iterator[Emulator]:
    with fast_emulator(tls=True) as emulator:
        yield emulator


# Forwarding


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
    with fast_emulator(tls=True, host="localhost") as emulator:
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
