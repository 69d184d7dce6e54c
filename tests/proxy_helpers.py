"""Real proxies on loopback: tinyproxy, squid (intercepts TLS), nghttpx (HTTP/2), and a recorder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from runtime_helpers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

SQUID_CERTGEN = "/usr/lib/squid/security_file_certgen"
"""The program of Debian's squid-openssl that creates a certificate for each host."""


def find(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    assert found, f"{program} is needed: make test installs it on Debian"
    return found


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run the program. Starts the block once it listens."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 30
        while not listens(port):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Proxy:
    """A running proxy and its log."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self.address, self._log = port, f"127.0.0.1:{port}", log

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")


@contextmanager
def tinyproxy(folder: Path, *settings: str) -> Iterator[Proxy]:
    port, log, config = free_port(), folder / "tinyproxy.log", folder / "tinyproxy.conf"
    lines = [
        f"Port {port}",
        "Listen 127.0.0.1",
        "Timeout 30",
        f'LogFile "{log}"',
        "LogLevel Connect",
        *settings,
    ]
    config.write_text("\n".join(lines) + "\n", encoding="ascii")
    log.touch()
    with running([find("tinyproxy"), "-d", "-c", str(config)], port, folder / "tinyproxy.out"):
        yield Proxy(port, log)


@contextmanager
def squid(authority: bytes, trusts: bytes) -> Iterator[Proxy]:
    """Intercept every TLS connection with certificates of `authority` (PEM with its key)."""
    as_root = os.geteuid() == 0
    owner = "proxy" if as_root else pwd.getpwuid(os.geteuid()).pw_name
    # A squid started by root runs as another user, who cannot enter pytest's folders.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "authority.pem").write_bytes(authority)
        (folder / "trusts.pem").write_bytes(trusts)
        port, log = free_port(), folder / "squid.log"
        (folder / "squid.conf").write_text(
            "\n".join(squid_settings(folder, port, owner)) + "\n", encoding="ascii"
        )
        subprocess.run(
            [SQUID_CERTGEN, "-c", "-s", str(folder / "made"), "-M", "4MB"],
            check=True,
            capture_output=True,
        )
        log.touch()
        if as_root:
            subprocess.run(["chown", "-R", owner, name], check=True)
        with running(
            [find("squid"), "-N", "-f", str(folder / "squid.conf")], port, folder / "squid.out"
        ):
            yield Proxy(port, log)


def squid_settings(folder: Path, port: int, owner: str) -> list[str]:
    return [
        f"http_port 127.0.0.1:{port} ssl-bump generate-host-certificates=on "
        f"tls-cert={folder}/authority.pem",
        f"sslcrtd_program {SQUID_CERTGEN} -s {folder}/made -M 4MB",
        "sslcrtd_children 1 startup=1",
        f"tls_outgoing_options cafile={folder}/trusts.pem",
        "acl first at_step SslBump1",
        "ssl_bump peek first",
        "ssl_bump bump all",
        "http_access allow all",
        f"access_log stdio:{folder}/squid.log logformat=squid",
        f"cache_log {folder}/cache.log",
        f"coredump_dir {folder}",
        f"pid_filename {folder}/squid.pid",
        f"cache_effective_user {owner}",
        "cache deny all",
        "pinger_enable off",
        "shutdown_lifetime 0 seconds",
        "netdb_filename none",
    ]


@contextmanager
def nghttpx(folder: Path, certificate: Path, key: Path, backend: str) -> Iterator[Proxy]:
    """Offer HTTP/2 over TLS, forward each request with HTTP/1.1, and log its protocol."""
    port, log = free_port(), folder / "nghttpx.log"
    host, _, behind = backend.rpartition(":")
    command = [
        find("nghttpx"),
        f"--frontend=127.0.0.1,{port}",
        f"--backend={host},{behind}",
        "--workers=1",
    ]
    command += [
        "--no-ocsp",
        "--single-process",
        f"--accesslog-file={log}",
        "--accesslog-format=$request",
    ]
    with running([*command, str(key), str(certificate)], port, folder / "nghttpx.out"):
        yield Proxy(port, log)


class RecordingServer:
    """Answers every request with 502, and records the lines of each request's head."""

    def __init__(
        self, answer: bytes = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
    ) -> None:
        self._answer, self.heads = answer, list[list[str]]()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> RecordingServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(10)
                head = b""
                while b"\r\n\r\n" not in head and (part := connection.recv(65536)):
                    head += part
                self.heads.append(head.decode().splitlines())
                connection.sendall(self._answer)
