import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mde_live_response import LiveResponseClient
from mde_live_response.emulator import Emulator

# A shell's background job ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator whose clock runs twenty times as fast as real time."""
    with Emulator(speed=20.0) as emulator:
        yield emulator


@pytest.fixture
def client(emulator: Emulator) -> Iterator[LiveResponseClient]:
    """A client of the emulator. A test file may have an emulator of its own."""
    with emulator.client() as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for `library.sync`, with one script."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "a.sh").write_text("# Collects it.\nid\n")
    return folder
