"""A client's whole way through a network: emulators to reach, and what is made to reach them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from runtime_helpers import MACHINE

from mde_live_response import Command, ConnectionFailedError, LiveResponseClient
from mde_live_response.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


def clear_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset each variable that selects a proxy or certificate authorities."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextmanager
def fast_emulator(**options: Any) -> Iterator[Emulator]:
    """An emulator with what `everything` asks for."""
    with Emulator(speed=50.0, **options) as emulator:
        emulator.add_library_file("a.ps1", b"")
        emulator.put_remote_file("*", "C:\\a.txt", CONTENT)
        yield emulator


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
