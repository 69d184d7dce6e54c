from collections.abc import Iterator

import pytest

from mde_live_response.emulator import Emulator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator whose clock runs twenty times as fast as real time."""
    with Emulator(speed=20.0) as emulator:
        yield emulator
