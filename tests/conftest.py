from collections.abc import Iterator

import pytest

from mde_live_response.emulator import Emulator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """The service in a box, with a clock that makes a second out of twenty."""
    with Emulator(speed=20.0) as emulator:
        yield emulator
