"""mde-client, unchanged, reaches the emulator through its proxy: the code of the page.

It needs Python 3.14. `make test-examples` installs both into target/mde_client, which takes a
minute, so `make test` leaves this test out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_helpers import BLOCKS, PAGE, ROOT, assert_one_session, proxied_emulator, run
from soar_helpers import HAS_PLATFORMS

from mde_live_response.emulator import Emulator

FOLDER = ROOT / "target/mde_client"
REQUIREMENTS = ROOT / "tests/mde_client/requirements.txt"


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Emulator]:
    with proxied_emulator(tmp_path) as emulator:
        yield emulator


def test_the_page_with_mde_client(proxied: Emulator) -> None:
    if not (FOLDER / ".made").exists():
        assert not HAS_PLATFORMS, "make test-examples installs mde-client"
        pytest.skip("mde-client is not installed: run make test-examples")
    command = [str(FOLDER / "python"), "-W", "error", "-"]
    printed = run(proxied, command, BLOCKS["triage.py"], PYTHONPATH=str(FOLDER / "site"))
    assert printed.startswith("Succeeded ")
    assert "found it" in printed
    assert_one_session(proxied)


def test_the_page_names_the_version_that_is_run() -> None:
    (pin,) = (line for line in REQUIREMENTS.read_text().split() if line.startswith("mde-client=="))
    assert f"with mde-client {pin.partition('==')[2]}, unchanged" in PAGE
