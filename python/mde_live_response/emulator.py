"""`mde_live_response.emulator`: the live response service in a box, on loopback. For demos and for your own tests."""

from __future__ import annotations

import json
import os
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from . import _emulator_endpoint as endpoint
from . import _emulator_process as process
from . import _emulator_validation as validation
from ._native import EmulatorServer, Limits, LiveResponseClient, ScriptOutput
from .errors import InvalidRequestError

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
    only an address: the process that made it serves it, and alone can change it; the child's copies of its sockets
    are closed. A value that cannot be is an InvalidRequestError, which is a ValueError, or a TypeError.
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

        machines: so many, ws-0001.example.test and so on, all online, up to 1,000,000; `add_machine` adds others.
        limits: enforced over strict sliding windows. Default: the service's own.
        speed: of its clock, up to 1,000,000; 60 makes a minute a second. Retry-After, expires_in and a link's expiry
            are told in wall time, the times inside JSON in its own.
        seed: of ids, durations and random faults; 0 to 2**64 - 1.
        host, port: where it listens; 0 takes a port that is free. Other than loopback warns.
        tls: with a certificate authority made for this run, at `ca_bundle`.
        switches: what is not known of the service; docs/emulator.md lists each.
        """
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits is {limits!r}; it has to be a Limits")
        if not process.is_loopback(validation.text("host", host)):
            warnings.warn(
                f"the emulator listens on {host}: whoever reaches it can use it", stacklevel=2
            )
        self._limits = limits if limits is not None else Limits()
        self._speed = validation.speed(speed)
        self._machines = validation.integer("machines", machines, 0, 1_000_000)
        self._server = EmulatorServer(
            self._machines,
            self._limits,
            self._speed,
            validation.integer("seed", seed, 0, 2**64 - 1),
            host,
            validation.integer("port", port, 0, 65535),
            validation.boolean("tls", tls),
            validation.as_json("switches", {} if switches is None else switches),
        )
        self.url, self.login_url, self.tenant_id, self.client_id, self.client_secret, self.token = (
            self._server.credentials()
        )
        process.register_server(self._server)
        self.ca_bundle = process.write_ca_bundle(self._server.ca)
        self.env = endpoint.environment(self)
        self._pid = os.getpid()
        # Called by close, else when this is forgotten, else at exit.
        self._stop = weakref.finalize(self, process.stop, self._server, self.ca_bundle, self._pid)

    def __repr__(self) -> str:
        state = (
            f"{self._machines} machines, speed {self._speed:g}" if self._stop.alive else "closed"
        )
        owner = "" if os.getpid() == self._pid else f", served by process {self._pid}"
        return f"<Emulator at {self.url}, {state}{owner}>"

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

    def token_with(self, *roles: str) -> str:
        """A bearer token with these application permissions alone, as `Machine.LiveResponse`."""
        return self._server.token_with([validation.text("role", role) for role in roles])

    def add_certificate(self, certificate: bytes) -> None:
        """Register a certificate, PEM or DER, by which the client may sign assertions in place of its secret.

        As long as none is registered, an assertion is judged by what it says and its signature taken on trust.
        """
        self._server.add_certificate(certificate)

    def client(self, **options: Any) -> LiveResponseClient:
        """A client wired to this emulator, limits and speed included. `options` are LiveResponseClient's and win."""
        return LiveResponseClient(
            **{**endpoint.client_options(self, self._limits, self._speed), **options}
        )

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

        name: as `ws-0001.example.test`; calls may give its first part alone. start_delay: from accepted to InProgress.
        remediation_level: of its device group; without, a submit is a DisallowedOperation. supported: its system can
        run live response. properties: the service's own, as `osPlatform`, `healthStatus`, `machineTags`, `lastSeen`,
        `id`; docs/emulator.md lists each.
        """
        added = self._server.add_machine(
            validation.text("name", name),
            validation.boolean("online", online),
            validation.seconds("start_delay", start_delay),
            validation.boolean("remediation_level", remediation_level),
            validation.boolean("supported", supported),
            validation.as_json("properties", properties),
        )
        self._machines += 1
        return added

    def set_online(self, machine: str, online: bool) -> None:
        """Bring a machine, by id or name, on line or take it off: then its sessions stay Pending."""
        self._server.set_online(machine, online)

    def set_stuck(self, machine: str, stuck: bool) -> None:
        """Make every submit to a machine a bare 500, or end that."""
        self._server.set_stuck(machine, stuck)

    def add_foreign_session(
        self,
        machine: str,
        seconds: float,
        *,
        listed: bool = True,
        answer: Literal["error", "foreign"] = "error",
    ) -> str:
        """Let another's session occupy a machine; its action id.

        listed: False is a portal session, which no list shows. answer: what a submit to the machine gets meanwhile,
        400 ActiveRequestAlreadyExists or 201 with the foreign action.
        """
        if answer not in ("error", "foreign"):
            raise InvalidRequestError(f"answer is {answer!r}; it has to be 'error' or 'foreign'")
        length = validation.seconds("seconds", seconds)
        return self._server.add_foreign_session(
            machine, length, validation.boolean("listed", listed), answer == "foreign"
        )

    def add_library_file(self, name: str, content: bytes = b"") -> None:
        """Put a file into the library, over what has its name: letters, digits, `-`, `_` and `.`."""
        self._server.add_library_file(name, content)

    def on_script(
        self,
        name: str,
        *,
        stdout: str | Callable[[str, str | None], ScriptOutput | str] = "",
        stderr: str = "",
        exit_code: int | None = 0,
        duration: float = 1.0,
        fails: str | None = None,
    ) -> None:
        """Say what a script does; it is put into the library if it is not there.

        stdout: what it prints, or a callable of machine id and arguments, called when it runs, on a thread of the
        emulator's, which gives what it prints or a ScriptOutput. exit_code: None leaves it out of the transcript, as
        a ScriptOutput's None does. duration: until it ends. fails: the command ends Failed, with this in its errors.
        A script of the library for which nothing was said prints its own name and arguments.
        """
        script = stdout if callable(stdout) else None

        def call(machine: str, args: str | None) -> tuple[str, str, int | None]:
            output = script(machine, args) if script else ""
            if isinstance(output, ScriptOutput):
                return output.stdout, output.stderr, output.exit_code
            return validation.text("what the script printed", output), stderr, exit_code

        self._server.on_script(
            validation.text("name", name),
            "" if callable(stdout) else validation.text("stdout", stdout),
            validation.text("stderr", stderr),
            None
            if exit_code is None
            else validation.integer("exit_code", exit_code, -(2**31), 2**32 - 1),
            validation.seconds("duration", duration),
            None if fails is None else validation.text("fails", fails),
            call if script else None,
        )

    def put_remote_file(self, machine: str, path: str, content: bytes | PathLike[str]) -> None:
        """Put a file on a machine's disk, for GetFile to collect; machine `*` is all of them.

        content: the bytes, or the path of a file here, which is read when it is collected.
        """
        self._server.put_remote_file(machine, path, content)

    def fault(
        self,
        method: str,
        path: str,
        kind: FaultKind,
        *,
        nth: int = 1,
        times: int = 1,
        **details: Any,
    ) -> None:
        """Let the `nth` call from now on that matches, and the `times - 1` after it, go wrong.

        method: `*` is any. path: as `/api/machineactions/*/cancel`, where `*` is one segment, or a route's name as
        `counters` has it: `runliveresponse`, `machineactions`, `token`, `blob`.
        kind: status (details: status, body, headers; acts=True acts on the request first), drop_before (read, not acted
        on), drop_unread (not even read), drop_after (acted on, no answer), delay (details: seconds of wall time),
        truncate (details: keep), garble, expire_token.
        """
        if isinstance(details.get("body"), dict | list):
            details["body"] = json.dumps(details["body"])
        text = validation.as_json("fault", {"kind": kind, **details})
        nth, times = (
            validation.integer("nth", nth, 1, 2**32 - 1),
            validation.integer("times", times, 1, 2**32 - 1),
        )
        self._server.fault(method, path, text, nth, times)

    def advance(self, seconds: float) -> None:
        """Let its clock jump, by up to 1e9 seconds; it never goes back."""
        self._server.advance(validation.seconds("seconds", seconds))

    @property
    def requests(self) -> Sequence[Mapping[str, Any]]:
        """Every call, oldest first: route, method, path, query, headers without the token, body, status, time.

        A token request's body and the signature of a result's link are left out.
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
