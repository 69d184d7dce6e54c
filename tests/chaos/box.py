"""What one cell runs in: an emulator, the proxy in front of it, a store, and clients."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from emulator_helpers import call

from mde_live_response import ClientSecretCredential, Command, Limits, LiveResponseClient
from mde_live_response.emulator import Emulator

from .entities import Decoy
from .front import Front
from .listener import Loop

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

SPEED = 100.0
MACHINES = ("ws-0001.example.test", "ws-0002.example.test")
OTHER = "ws-0003.example.test"
SCRIPT = "triage.ps1"
ARGUMENT = "-Depth 1"
REMOTE = "C:\\Temp\\triage.bin"
REQUEST_TIMEOUT = 4.0
"""Seconds. A shorter one would end requests that only wait for a processor."""


class Box:
    """The surroundings of one cell. No other cell shares them, except for a Redis server."""

    def __init__(self, seed: int, folder: Path, state: str, loop: Loop) -> None:
        self.seed, self.folder, self.state, self._loop = seed, folder, state, loop
        self.saved = folder / "saved"
        self.evidence = hashlib.sha512(str(seed).encode()).digest() * 32
        self.runs: Counter[str] = Counter()
        """How often the script ran, by machine id."""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        with ExitStack() as stack:
            # One session at a time: the second machine waits for the slot of the first.
            limits = Limits(sessions=1)
            emulator = Emulator(
                machines=3,
                speed=SPEED,
                limits=limits,
                seed=self.seed,
                switches={"compression": "none"},
            )
            self.emulator = stack.enter_context(emulator)
            self.set_duration(0.5)
            emulator.put_remote_file("*", REMOTE, self.evidence)
            self.tool = self.folder / "tool.txt"
            self.tool.write_text(f"a tool of {self.seed}")
            self.front = stack.enter_context(Front(self._loop, emulator.url, self._decoy()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _decoy(self) -> Decoy:
        """Return a machine and an ended action that are not ours."""
        action = self.emulator.add_foreign_session(OTHER, 0.1)
        self.emulator.advance(10)
        other = call(self.emulator, "GET", f"/api/machineactions/{action}")[1]
        self.foreign = action
        decoy = Decoy(call(self.emulator, "GET", f"/api/machines/{OTHER}")[1], other)
        self.emulator.advance(3600)
        return decoy

    def set_duration(self, seconds: float) -> None:
        def run(machine: str, arguments: str | None) -> str:
            self.runs[machine] += 1
            return f"on {machine} with {arguments}"

        self.emulator.on_script(SCRIPT, stdout=run, duration=seconds)

    @property
    def commands(self) -> list[Command]:
        return [
            Command.put_local(self.tool),
            Command.run_script(SCRIPT, ARGUMENT),
            Command.get_file(REMOTE),
        ]

    def client(self, max_wait: float) -> LiveResponseClient:
        emulator = self.emulator
        credential = ClientSecretCredential(
            emulator.tenant_id,
            emulator.client_id,
            emulator.client_secret,
            authority=self.front.url,
        )
        return emulator.client(
            endpoint=self.front.url,
            credential=credential,
            state=self.state,
            request_timeout=REQUEST_TIMEOUT,
            connect_timeout=REQUEST_TIMEOUT,
            max_wait=max_wait,
        )

    @property
    def env(self) -> dict[str, str]:
        """The environment variables with which a child process reaches the proxy."""
        address = {
            "MDE_LIVE_RESPONSE_ENDPOINT": self.front.url,
            "AZURE_AUTHORITY_HOST": self.front.url,
        }
        return {**self.emulator.env, **address}

    @property
    def secrets(self) -> set[str]:
        return {self.emulator.client_secret, self.emulator.token, *self.front.secrets}

    def sessions(self) -> list[dict[str, Any]]:
        """Return the sessions of our application, as the service knows them."""
        found = call(self.emulator, "GET", "/__box/sessions")[1]
        return [session for session in found if not session["foreign"]]

    def submits(self) -> int:
        return int(self.emulator.counters.get("runliveresponse", 0))
