"""The wheels of a release, and the systems that they are for."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Everything that is built and unpacked here.
WORK = ROOT / "target" / "wheels"
DIST = WORK / "dist"
#: What the last checks found, by the name of the wheel; docs/platforms.md is written from it.
RESULTS = WORK / "results.json"
#: The other systems that the code compiles for here.
SYSTEMS = WORK / "systems.json"
#: It comes with the environment of this Python.
ZIG = Path(sysconfig.get_path("purelib")) / "ziglang" / "zig"

#: The versions of CPython that a wheel is installed into.
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")


@dataclass(frozen=True)
class Wheel:
    """One wheel. `tag` is the oldest system that it runs on, as packages name it."""

    target: str
    tag: str
    system: str
    #: Linux only: zig compiles for all of them, from any of them.
    here: bool = True

    @property
    def file(self) -> Path | None:
        """The wheel that was built, if it was."""
        architecture = self.target.partition("-")[0]
        found = sorted(DIST.glob(f"*{self.tag}_{architecture}*.whl"))
        return found[0] if found else None


WHEELS = (
    Wheel("x86_64-unknown-linux-gnu", "manylinux_2_17", "Linux x86-64, glibc 2.17 or later"),
    Wheel("aarch64-unknown-linux-gnu", "manylinux_2_17", "Linux AArch64, glibc 2.17 or later"),
    Wheel("x86_64-unknown-linux-musl", "musllinux_1_2", "Linux x86-64, musl 1.2 or later"),
    Wheel("aarch64-unknown-linux-musl", "musllinux_1_2", "Linux AArch64, musl 1.2 or later"),
    Wheel("x86_64-apple-darwin", "macosx_10_12", "macOS 10.12 or later, x86-64", here=False),
    Wheel("aarch64-apple-darwin", "macosx_11_0", "macOS 11 or later, Apple silicon", here=False),
    Wheel("x86_64-pc-windows-msvc", "win_amd64", "Windows 10 or later, x86-64", here=False),
)
