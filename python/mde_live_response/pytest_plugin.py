"""The pytest fixture `mde_emulator`: an emulator of the live response service for each test.

`@pytest.mark.mde_emulator(machines=5, speed=60)` sets the arguments of
`mde_live_response.emulator.Emulator`, by name. Of several marks, the closest one applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .emulator import Emulator

__all__ = ["mde_emulator", "pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, so that `--strict-markers` accepts it."""
    config.addinivalue_line(
        "markers",
        "mde_emulator(**options): arguments of the emulator of the fixture `mde_emulator`",
    )


@pytest.fixture
def mde_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """An emulator of the live response service, with three machines online."""
    # pytest loads plugins at every start, so the native module is loaded only when it is needed.
    from .emulator import Emulator

    marker = request.node.get_closest_marker("mde_emulator")
    if marker and marker.args:
        positional = ", ".join(map(repr, marker.args))
        raise pytest.UsageError(
            f"@pytest.mark.mde_emulator({positional}): pass the arguments of Emulator by name, "
            "such as machines=5"
        )
    with Emulator(**(marker.kwargs if marker else {})) as emulator:
        yield emulator
