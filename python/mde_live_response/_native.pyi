"""The Rust core. Private: import from `mde_live_response` instead."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from os import PathLike
from typing import Any, final

from mde_live_response import Check as Check
from mde_live_response import ClientCertificateCredential as ClientCertificateCredential
from mde_live_response import ClientSecretCredential as ClientSecretCredential
from mde_live_response import CollectedFile as CollectedFile
from mde_live_response import Command as Command
from mde_live_response import CommandResult as CommandResult
from mde_live_response import FileStream as FileStream
from mde_live_response import Finding as Finding
from mde_live_response import Fleet as Fleet
from mde_live_response import FleetReport as FleetReport
from mde_live_response import Library as Library
from mde_live_response import LibraryFile as LibraryFile
from mde_live_response import LibraryPlan as LibraryPlan
from mde_live_response import Limits as Limits
from mde_live_response import LiveResponseClient as LiveResponseClient
from mde_live_response import Machine as Machine
from mde_live_response import MachineAction as MachineAction
from mde_live_response import ManagedIdentityCredential as ManagedIdentityCredential
from mde_live_response import Outcome as Outcome
from mde_live_response import Profile as Profile
from mde_live_response import Rate as Rate
from mde_live_response import Run as Run
from mde_live_response import ScriptOutput as ScriptOutput
from mde_live_response import Session as Session
from mde_live_response import SessionResult as SessionResult
from mde_live_response import WorkloadIdentityCredential as WorkloadIdentityCredential

__all__ = [
    "Check",
    "ClientCertificateCredential",
    "ClientSecretCredential",
    "CollectedFile",
    "Command",
    "CommandResult",
    "FileStream",
    "Finding",
    "Fleet",
    "FleetReport",
    "Library",
    "LibraryFile",
    "LibraryPlan",
    "Limits",
    "LiveResponseClient",
    "Machine",
    "MachineAction",
    "ManagedIdentityCredential",
    "Outcome",
    "Profile",
    "Rate",
    "Run",
    "ScriptOutput",
    "Session",
    "SessionResult",
    "WorkloadIdentityCredential",
    "__version__",
]

__version__: str

def new_correlation_id() -> str:
    """Return a correlation id that nobody has submitted with: `run` does not look for an earlier
    session with it, the first time that it is used in this process."""

def show_state(address: str) -> list[dict[str, Any]]:
    """Return what a state store contains: one dict for each quota key."""

def prune_state(address: str, older_than: float | timedelta) -> list[dict[str, Any]]:
    """Delete entries of a state store that are older than `older_than` seconds and not open."""

def prune_memory(older_than: float | timedelta) -> list[dict[str, int]]:
    """Delete entries of this process's memory stores that are older than `older_than` seconds and
    not open."""

def runtime_tasks() -> int:
    """Return how many tasks of the runtime have not ended: 0 before the first call."""

@final
class FleetIterator:
    """One loop over a fleet. Private: `iter(fleet)` and `aiter(fleet)` make it."""

    def __iter__(self) -> FleetIterator: ...
    def __next__(self) -> Outcome: ...
    def __aiter__(self) -> FleetIterator: ...
    def __anext__(self) -> Coroutine[Any, Any, Outcome]: ...

@final
class EmulatorConfig:
    """The config of an emulator, as read. Private: `Emulator(config=)` is the public way."""

    @staticmethod
    def from_file(path: str) -> EmulatorConfig: ...
    @staticmethod
    def from_json(text: str) -> EmulatorConfig: ...
    @property
    def machines(self) -> int | None: ...
    @property
    def listed_machines(self) -> int: ...
    @property
    def speed(self) -> float | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def limits(self) -> Limits | None: ...
    @property
    def switches(self) -> str: ...

@final
class EmulatorServer:
    """An emulator behind a TCP port. Public as `mde_live_response.emulator.Emulator`."""

    def __new__(
        cls,
        machines: int,
        limits: Limits,
        speed: float,
        seed: int,
        host: str,
        port: int,
        tls: bool,
        switches: str,
        tls_names: list[str],
        certificate: tuple[str, str] | None,
        ca_folder: str | None,
        proxy: int | None,
        control: bool,
        config: EmulatorConfig | None,
    ) -> EmulatorServer: ...
    @property
    def ca(self) -> str | None: ...
    @property
    def proxy_url(self) -> str | None: ...
    @property
    def addresses(self) -> list[tuple[str, int]]: ...
    def close(self) -> None: ...
    def credentials(self) -> list[str]: ...
    def token_with(self, roles: list[str]) -> str: ...
    def add_certificate(self, certificate: bytes) -> None: ...
    def add_machine(
        self,
        name: str,
        online: bool,
        start_delay: float,
        remediation_level: bool,
        supported: bool,
        properties: str,
    ) -> Machine: ...
    def set_online(self, machine: str, online: bool) -> None: ...
    def set_stuck(self, machine: str, stuck: bool) -> None: ...
    def add_entry(self, section: str, entry: str) -> str: ...
    def add_library_file(self, name: str, content: bytes) -> None: ...
    def on_script(
        self,
        name: str,
        stdout: str,
        stderr: str,
        exit_code: int | None,
        duration: float,
        fails: str | None,
        call: Callable[[str, str | None], tuple[str, str, int | None]] | None,
    ) -> None: ...
    def put_remote_file(
        self, machine: str, path: str, content: bytes | str | PathLike[str]
    ) -> None: ...
    def advance(self, seconds: float) -> None: ...
    def reset(self) -> None: ...
    def requests(self) -> str: ...
    def take_calls(self) -> str: ...
    def counters(self) -> str: ...
    def violations(self) -> str: ...
