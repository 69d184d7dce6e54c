"""`mde_live_response.emulator`: the live response service in a box, on loopback. For demos and for your own tests."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import tempfile
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ._native import ClientSecretCredential, EmulatorServer, Limits, LiveResponseClient, Rate, ScriptOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from typing_extensions import Self

    from . import Machine

__all__ = ["Emulator", "FaultKind"]

# A union of two, since stubtest does not take a lone Literal for one.
FaultKind: TypeAlias = (
    Literal["drop_before", "drop_unread", "drop_after"]
    | Literal["status", "delay", "truncate", "garble", "expire_token"]
)


class Emulator:
    """Serves the API, the token endpoint and the blob host from threads of its own until it is closed.

    Use it as a context manager. Times are seconds of its own clock, unless said otherwise. In a forked child it is
    only an address: the process that made it serves it, and alone can change it.
    """

    url: str
    """The API's address: give it to `LiveResponseClient(endpoint=...)`."""
    login_url: str
    """The login host's address: give it to `ClientSecretCredential(authority=...)`."""
    tenant_id: str
    client_id: str
    client_secret: str
    token: str
    """A bearer token with every permission."""
    ca_bundle: str | None
    """Path of the PEM file of this run's certificate authority, with `tls=True`. It is removed on close."""
    env: Mapping[str, str]
    """What a child process needs in its environment for `LiveResponseClient()` to reach this emulator."""

    def __init__(
        self,
        *,
        machines: int = 3,
        limits: Limits | None = None,
        speed: float = 1.0,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        switches: Mapping[str, Any] | None = None,
    ) -> None:
        """Start to serve.

        machines: so many, ws-0001.example.test and so on, all online; `add_machine` adds others.
        limits: enforced over strict sliding windows. Default: the service's own.
        speed: of its clock; 60 makes a minute a second. Retry-After, expires_in and a link's expiry are told in wall
            time, the times inside JSON in its own.
        seed: of ids, durations and random faults.
        host, port: where it listens; 0 takes a port that is free. Other than loopback warns.
        tls: with a certificate authority made for this run, at `ca_bundle`.
        switches: what is not known of the service; docs/emulator.md lists each.
        """
        if not _is_loopback(host):
            warnings.warn(f"the emulator listens on {host}: whoever reaches it can use it", stacklevel=2)
        self._limits = limits if limits is not None else Limits()
        self._speed = speed
        text = json.dumps(dict(switches or {}))
        self._server = EmulatorServer(machines, self._limits, speed, seed, host, port, tls, text)
        self.url, self.login_url, self.tenant_id, self.client_id, self.client_secret, self.token = (
            self._server.credentials()
        )
        self.ca_bundle = _write_bundle(self._server.ca)
        self.env = self._environment()
        # Called by close, else when this is forgotten, else at exit.
        self._stop = weakref.finalize(self, _stop, self._server, self.ca_bundle, os.getpid())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and close every connection. A forked child's copy is left alone."""
        self._stop()

    def _environment(self) -> dict[str, str]:
        env = {
            "MDE_LIVE_RESPONSE_ENDPOINT": self.url,
            "AZURE_TENANT_ID": self.tenant_id,
            "AZURE_CLIENT_ID": self.client_id,
            "AZURE_CLIENT_SECRET": self.client_secret,
            "AZURE_AUTHORITY_HOST": self.login_url,
        }
        if self.ca_bundle is not None:
            env["REQUESTS_CA_BUNDLE"] = self.ca_bundle
        if any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in os.environ):
            direct = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
            env["NO_PROXY"] = ",".join(filter(None, [direct, "127.0.0.1", "localhost", "::1"]))
        return env

    def token_with(self, *roles: str) -> str:
        """A bearer token with these application permissions alone, as `Machine.LiveResponse`."""
        return self._server.token_with(list(roles))

    def add_certificate(self, certificate: bytes) -> None:
        """Register a certificate, PEM or DER, by which the client may sign assertions in place of its secret.

        As long as none is registered, an assertion is judged by what it says and its signature taken on trust.
        """
        self._server.add_certificate(certificate)

    def client(self, **options: Any) -> LiveResponseClient:
        """A client wired to this emulator, limits and speed included. `options` are LiveResponseClient's and win."""
        credential = ClientSecretCredential(
            self.tenant_id, self.client_id, self.client_secret, authority=self.login_url
        )
        ours: dict[str, Any] = {"credential": credential, "endpoint": self.url, "proxy": ""}
        ours["limits"] = _scaled(self._limits, self._speed)
        if self.ca_bundle is not None:
            ours["ca_bundle"] = self.ca_bundle
        return LiveResponseClient(**{**ours, **options})

    def add_machine(
        self,
        name: str,
        *,
        online: bool = True,
        start_delay: float = 0.5,
        remediation_level: bool = True,
        supported: bool = True,
        **properties: Any,
    ) -> Machine:
        """Add a machine.

        start_delay: from accepted to InProgress. remediation_level: of its device group; without, a submit is a
        DisallowedOperation. supported: its system can run live response. properties: the service's own, as
        `osPlatform`, `healthStatus`, `machineTags`, `lastSeen`, `id`.
        """
        text = json.dumps(properties)
        return self._server.add_machine(name, online, start_delay, remediation_level, supported, text)

    def set_online(self, machine: str, online: bool) -> None:
        """Bring a machine, by id or name, on line or take it off: then its sessions stay Pending."""
        self._server.set_online(machine, online)

    def set_stuck(self, machine: str, stuck: bool) -> None:
        """Make every submit to a machine a bare 500, or end that."""
        self._server.set_stuck(machine, stuck)

    def add_foreign_session(
        self, machine: str, seconds: float, *, listed: bool = True, answer: Literal["error", "foreign"] = "error"
    ) -> str:
        """Let another's session occupy a machine; its action id.

        listed: False is a portal session, which no list shows. answer: what a submit to the machine gets meanwhile,
        400 ActiveRequestAlreadyExists or 201 with the foreign action.
        """
        if answer not in ("error", "foreign"):
            raise ValueError(f"answer is {answer!r}; it is 'error' or 'foreign'")
        return self._server.add_foreign_session(machine, seconds, listed, answer == "foreign")

    def add_library_file(self, name: str, content: bytes = b"") -> None:
        """Put a file into the library, over what has its name."""
        self._server.add_library_file(name, content)

    def on_script(
        self,
        name: str,
        *,
        stdout: str | Callable[[str, str | None], ScriptOutput | str] = "",
        stderr: str = "",
        exit_code: int = 0,
        duration: float = 1.0,
        fails: str | None = None,
    ) -> None:
        """Say what a script does; it is put into the library if it is not there.

        stdout: what it prints, or a callable of machine id and arguments, called when it runs, on a thread of the
        emulator's. fails: the command ends Failed, with this in its errors. A script of the library for which nothing
        was said prints its own name and arguments.
        """
        if not callable(stdout):
            self._server.on_script(name, stdout, stderr, exit_code, duration, fails, None)
            return
        written = stdout

        def call(machine: str, args: str | None) -> tuple[str, str, int]:
            answer = written(machine, args)
            if isinstance(answer, ScriptOutput):
                return answer.stdout, answer.stderr, answer.exit_code or 0
            return answer, stderr, exit_code

        self._server.on_script(name, "", stderr, exit_code, duration, fails, call)

    def put_remote_file(self, machine: str, path: str, content: bytes | PathLike[str]) -> None:
        """Put a file on a machine's disk, for GetFile to collect; machine `*` is all of them.

        content: the bytes, or the path of a file here, which is read when it is collected.
        """
        self._server.put_remote_file(machine, path, content)

    def fault(self, method: str, path: str, kind: FaultKind, *, nth: int = 1, times: int = 1, **details: Any) -> None:
        """Let the `nth` call from now on that matches, and the `times - 1` after it, go wrong.

        method: `*` is any. path: as `/api/machineactions/*/cancel`, where `*` is one segment, or a route's name as
        `counters` has it: `runliveresponse`, `machineactions`, `token`, `blob`.
        kind: status (details: status, body, headers), drop_before (read, not acted on), drop_unread (not even read),
        drop_after (acted on, no answer), delay (details: seconds of wall time), truncate (details: keep), garble,
        expire_token.
        """
        if isinstance(details.get("body"), dict | list):
            details["body"] = json.dumps(details["body"])
        self._server.fault(method, path, json.dumps({"kind": kind, **details}), nth, times)

    def advance(self, seconds: float) -> None:
        """Let its clock jump."""
        self._server.advance(seconds)

    @property
    def requests(self) -> Sequence[Mapping[str, Any]]:
        """Every call, oldest first: route, method, path, query, headers without the token, body, status, time.

        status: a number; "dropped" by a fault; "closed" by the client before its answer; None while it is served.
        """
        found: list[dict[str, Any]] = json.loads(self._server.requests())
        return found

    @property
    def counters(self) -> Mapping[str, int]:
        """Calls by route, and as `polls:<action id>` how often a session was looked at by its id."""
        found: dict[str, int] = json.loads(self._server.counters())
        return found

    @property
    def violations(self) -> Mapping[str, int]:
        """Rules that a client broke: rate, sessions, machine_busy, bearer_at_blob, duplicate_submit."""
        found: dict[str, int] = json.loads(self._server.violations())
        return found


def _scaled(limits: Limits, speed: float) -> Limits:
    """The limits as a client sees them, whose clock is the wall's."""

    def rates(own: Sequence[Rate]) -> list[Rate]:
        return [Rate(rate.count, rate.per / speed) for rate in own]

    return Limits(
        submit=rates(limits.submit),
        read=rates(limits.read),
        sessions=limits.sessions,
        queue_time=limits.queue_time / speed,
        script_time=limits.script_time / speed,
        settle_time=limits.settle_time / speed,
        upload_size=limits.upload_size,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _write_bundle(pem: str | None) -> str | None:
    if pem is None:
        return None
    handle, path = tempfile.mkstemp(prefix="mde-emulator-", suffix=".pem")
    with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123, a handle is not a path
        file.write(pem)
    return path


def _stop(server: EmulatorServer, bundle: str | None, pid: int) -> None:
    if os.getpid() != pid:
        return  # a forked child's copy: its parent goes on serving
    server.close()
    if bundle is not None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(bundle)  # noqa: PTH107, a string is all there is
