"""The pytest fixture `mde_emulator`: the live response service in a box, new for each test.

`@pytest.mark.mde_emulator(machines=5, speed=60)` gives it the arguments of `mde_live_response.emulator.Emulator`, by
name; of several marks the closest one counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .emulator import Emulator

__all__ = ["mde_emulator", "pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "mde_emulator(**options): arguments of the emulator behind `mde_emulator`"
    )


@pytest.fixture
def mde_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """The live response service in a box, with three machines online."""
    from .emulator import Emulator

    marker = request.node.get_closest_marker("mde_emulator")
    if marker and marker.args:
        unnamed = ", ".join(map(repr, marker.args))
        raise pytest.UsageError(
            f"@pytest.mark.mde_emulator({unnamed}): it takes Emulator's arguments by name, as machines=5"
        )
    with Emulator(**(marker.kwargs if marker else {})) as emulator:
        yield emulator
