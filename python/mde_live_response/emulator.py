"""An emulator of the live response service on loopback, for demos and for your own tests."""

from __future__ import annotations

import json
import os
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from . import _arguments as arguments
from . import _emulator_config as configs
from . import _emulator_endpoint as endpoint
from . import _emulator_process as process
from . import _emulator_validation as validation
from ._emulator_fixtures import EmulatorFixtures, FaultKind
from ._native import EmulatorServer, Limits, LiveResponseClient, Profile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from typing_extensions import Self

__all__ = ["Emulator", "FaultKind"]


class Emulator(EmulatorFixtures):
    """Serves the API, the token endpoint and the blob host from its own threads until closed.

    Use it as a context manager. Times are seconds of the emulator's clock, unless stated otherwise.
    An invalid value raises InvalidRequestError (a ValueError) or TypeError. A forked child can send
    requests to the emulator, but its methods raise RuntimeError there. The switches and all else:
    https://github.com/mde-live-response/mde-live-response/blob/main/docs/emulator.md

    Args:
        machines: The number of machines, `ws-0001.example.test` and so on, all online. 0 to
            1,000,000. `add_machine` adds more.
        limits: The limits to enforce. The default is the service's limits.
        speed: The speed of the emulator's clock, above 0 and up to 1,000,000. At 60, a minute
            takes a second. `Retry-After`, `expires_in` and the expiry of links are in wall time;
            times inside JSON are in the emulator's time.
        seed: The seed of ids, durations and random faults, 0 to 2**64 - 1.
        host: The address to listen on. An address other than loopback raises a UserWarning.
        port: The port to listen on. 0 is a free port.
        tls: Serve HTTPS, with a certificate of the emulator's own authority, whose certificate is
            at `ca_bundle`.
        tls_names: Up to 100 further names, for the certificate and at the proxy. The first label
            may be `*`.
        certificate: The paths of a certificate with its chain and of its key, both PEM, to serve
            HTTPS with in place of the emulator's own. Only the key's owner may read it.
        ca_folder: A folder that keeps the emulator's authority, so that a client is configured
            once. It is created with `ca.pem` and `ca-key.pem`, which only its owner can read. The
            default is a new authority for each run.
        proxy: Also run an HTTP proxy, at `proxy_url`: True, or its port. A CONNECT to a host of
            Defender, of Entra or of the results reaches the emulator. The proxy refuses every other
            host, and never opens a connection.
        switches: Undocumented behaviour of the service, by name.
        config: Machines, library, scripts, files, switches, faults and more, as a mapping or as
            the path of a file in YAML or JSON. The other arguments take precedence over its
            `machines`, `limits`, `speed`, `seed` and `switches`; its switches take precedence over
            the profile's. https://github.com/mde-live-response/mde-live-response/blob/main/docs/emulator-control.md
        control: Serve the control over HTTP, under `/__box/` of `url`: what the methods of this
            class set and read, for other languages. It serves programs on this machine only.
        profile: Behave like the tenant of a Profile from `client.probe()`, or of the path of a
            saved one. `switches` takes precedence.

    Raises:
        InvalidRequestError: A value is out of bounds, has no effect, names a file that cannot be
            used or is no profile, or a switch does not exist. For a config, the message names the
            file, the line, the entry and the key.
        OSError: The profile or the config cannot be read.
        TypeError: A value has the wrong type.
    """

    url: str
    """The address of the API, for `LiveResponseClient(endpoint=...)`."""
    login_url: str
    """The address of the login host, for `ClientSecretCredential(authority=...)`."""
    tenant_id: str
    client_id: str
    client_secret: str
    token: str
    """A bearer token with every permission."""
    ca_bundle: str | None
    """The path of the PEM file of the emulator's certificate authority, with `tls` or `proxy`.

    It is None if `certificate` is served. `close` removes the file, unless it is in `ca_folder`.
    """
    proxy_url: str | None
    """The address of the proxy, with `proxy`."""
    env: Mapping[str, str]
    """The environment variables with which `LiveResponseClient()` reaches this emulator."""

    def __init__(
        self,
        *,
        machines: int = configs.MACHINES,
        limits: Limits | None = None,
        speed: float = configs.SPEED,
        seed: int = configs.SEED,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        tls_names: Sequence[str] = (),
        certificate: tuple[str | PathLike[str], str | PathLike[str]] | None = None,
        ca_folder: str | PathLike[str] | None = None,
        proxy: bool | int = False,
        switches: Mapping[str, Any] | None = None,
        profile: Profile | str | PathLike[str] | None = None,
        config: Mapping[str, Any] | str | PathLike[str] | None = None,
        control: bool = True,
    ) -> None:
        """Start the emulator."""
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits is {limits!r}; it must be a Limits")
        if not process.is_loopback(validation.text("host", host)):
            message = f"the emulator listens on {host}: every host that can connect can use it"
            warnings.warn(message, stacklevel=2)
        folder = arguments.path_or_none("ca_folder", ca_folder)
        box = configs.read(config)
        self._limits = configs.chosen(limits, box and box.limits) or Limits()
        self._speed = validation.speed(configs.chosen(speed, box and box.speed))
        self._machines = configs.machines(box, machines)
        self._server = EmulatorServer(
            self._machines,
            self._limits,
            self._speed,
            validation.integer("seed", configs.chosen(seed, box and box.seed), 0, 2**64 - 1),
            host,
            validation.integer("port", port, 0, 65535),
            validation.boolean("tls", tls),
            configs.switches(box, profile, switches),
            arguments.texts_of("tls_names", "names of hosts", tls_names),
            validation.certificate(certificate),
            folder,
            validation.proxy_port(proxy),
            validation.boolean("control", control),
            box,
        )
        self._machines += box.listed_machines if box else 0
        self.url, self.login_url, self.tenant_id, self.client_id, self.client_secret, self.token = (
            self._server.credentials()
        )
        process.register_server(self._server)
        self.proxy_url = self._server.proxy_url
        self.ca_bundle, is_temporary = process.ca_bundle(self._server.ca, folder)
        self.env = endpoint.environment(self)
        self._pid = os.getpid()
        # Runs once: at close, at garbage collection or at exit. If it referred to `self`, the
        # emulator would never be collected.
        temporary = self.ca_bundle if is_temporary else None
        self._stop = weakref.finalize(self, process.stop, self._server, temporary, self._pid)

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
        """Stop the emulator and close every connection. In a forked child it does nothing."""
        self._stop()

    def token_with(self, *roles: str) -> str:
        """Return a bearer token with only these application permissions.

        Args:
            roles: Names such as `Machine.LiveResponse`.
        """
        return self._server.token_with([validation.text("role", role) for role in roles])

    def add_certificate(self, certificate: bytes) -> None:
        """Register a certificate. The client may then sign assertions with it, without its secret.

        Until a certificate is registered, the emulator checks the claims of an assertion, but not
        its signature.

        Args:
            certificate: The certificate as PEM or DER.

        Raises:
            InvalidRequestError: The bytes are not a certificate.
        """
        self._server.add_certificate(validation.binary("certificate", certificate))

    def reset(self) -> None:
        """Forget sessions, requests, counters, violations, faults and used quota.

        The address, tokens, machines, library, scripts, files and switches stay, and the clock
        keeps its time. Sessions of other callers end too.
        """
        self._server.reset()

    def client(self, **options: Any) -> LiveResponseClient:
        """Return a client for this emulator, with its limits and speed.

        Args:
            options: Arguments of LiveResponseClient. They override those of the emulator.
        """
        return LiveResponseClient(
            **{**endpoint.client_options(self, self._limits, self._speed), **options}
        )

    @property
    def requests(self) -> Sequence[Mapping[str, Any]]:
        """The requests, oldest first.

        Each has `route`, `method`, `path`, `query`, `headers`, `body`, `status` and `time`. Tokens,
        secrets and the signatures of result links are left out. `status` is a number, "dropped" (a
        fault broke the connection), "closed" (the client disconnected before the response) or None
        (the request is still running).
        """
        requests: list[dict[str, Any]] = json.loads(self._server.requests())
        return requests

    @property
    def counters(self) -> Mapping[str, int]:
        """The number of calls by route, and of polls by action as `polls:<action id>`."""
        counters: dict[str, int] = json.loads(self._server.counters())
        return counters

    @property
    def violations(self) -> Mapping[str, int]:
        """How often a client broke each rule of the service.

        The rules are `rate`, `sessions`, `machine_busy`, `bearer_at_blob` and `duplicate_submit`.
        """
        violations: dict[str, int] = json.loads(self._server.violations())
        return violations
