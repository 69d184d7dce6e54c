"""The Rust core. Private: import from `mde_live_response` instead."""

from mde_live_response import Check as Check
from mde_live_response import ClientSecretCredential as ClientSecretCredential
from mde_live_response import CollectedFile as CollectedFile
from mde_live_response import Command as Command
from mde_live_response import CommandResult as CommandResult
from mde_live_response import Finding as Finding
from mde_live_response import Library as Library
from mde_live_response import LibraryFile as LibraryFile
from mde_live_response import Limits as Limits
from mde_live_response import LiveResponseClient as LiveResponseClient
from mde_live_response import Machine as Machine
from mde_live_response import MachineAction as MachineAction
from mde_live_response import Rate as Rate
from mde_live_response import ScriptOutput as ScriptOutput
from mde_live_response import Session as Session
from mde_live_response import SessionResult as SessionResult

__all__ = [
    "Check",
    "ClientSecretCredential",
    "CollectedFile",
    "Command",
    "CommandResult",
    "Finding",
    "Library",
    "LibraryFile",
    "Limits",
    "LiveResponseClient",
    "Machine",
    "MachineAction",
    "Rate",
    "ScriptOutput",
    "Session",
    "SessionResult",
    "__version__",
]

__version__: str
