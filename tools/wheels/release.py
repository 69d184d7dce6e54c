"""Do everything that a release does, except publishing: `make release-check`.

It checks the version, then what is in the wheels and the source archive, and installs a wheel.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from matrix import DIST, PYTHONS, ROOT, WHEELS
from smoke import find_python, smoke

#: The ends of the names of required files, the places where files may be, and what is never there.
IN_WHEEL = [
    "__init__.pyi",
    "_native.pyi",
    "py.typed",
    "_native.abi3.so",
    "METADATA",
    "entry_points.txt",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    ".cyclonedx.json",
]
IN_SOURCE = [
    "PKG-INFO",
    "pyproject.toml",
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    "src/lib.rs",
    "__init__.pyi",
    "py.typed",
    "README.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
]
WHEEL_PLACES = r"mde_live_response(-[\d.]+\.dist-info)?/"
SOURCE_PLACES = r"mde_live_response-[\d.]+/(src/|python/mde_live_response/|\.cargo/config|[^/]+$)"
NEVER = r"(^|/)(__pycache__/|test_|conftest|\.env|.*\.(pem|key|pfx|p12|pyc|db)$)"
#: Private keys, tokens, and signatures of result links.
SECRETS = (
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}"
    rb"|eyJhbGciOi[\w-]{30,}\.|[?&]sig=[\w%]{40}"
)


def versions() -> dict[str, str]:
    """Return the version by the place that states it."""
    cargo = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    lock = (ROOT / "Cargo.lock").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = {
        "Cargo.toml": re.findall(r'^version = "(.+)"$', cargo, re.MULTILINE),
        "Cargo.lock": re.findall(r'^name = "mde-live-response"\nversion = "(.+)"$', lock, re.M),
        "CHANGELOG.md": re.findall(r"^## \[(\d.*)\] - \d{4}-\d\d-\d\d$", changes, re.MULTILINE),
    }
    if 'dynamic = ["version"]' not in project:
        sys.exit("pyproject.toml states a version of its own: maturin takes that of Cargo.toml")
    return {place: (each or ["none"])[0] for place, each in found.items()}


def check_archive(path: Path, wanted: list[str], places: str, files: dict[str, bytes]) -> None:
    """End with 1 if something is missing, or if something does not belong there."""
    problems = [f"{end} is missing" for end in wanted if not any(n.endswith(end) for n in files)]
    strange = [name for name in files if not re.match(places, name) or re.search(NEVER, name)]
    problems += [f"{name} does not belong there" for name in strange]
    problems += [f"{name} has a secret" for name, data in files.items() if re.search(SECRETS, data)]
    if problems:
        sys.exit(f"{path.name}: " + "; ".join(problems))
    size = sum(map(len, files.values()))
    print(f"{path.name}: {len(files)} files, {path.stat().st_size:,} of {size:,} bytes")


def read_source(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        read = {member.name: archive.extractfile(member) for member in files}
        return {name: file.read() for name, file in read.items() if file}


def read_wheel(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}


def main() -> int:
    """Run every step. The first one that fails ends it."""
    stated = versions()
    print("versions: " + ", ".join(f"{place} {version}" for place, version in stated.items()))
    if len(set(stated.values())) != 1:
        sys.exit("the versions differ")
    version = stated["Cargo.toml"]
    source = DIST / f"mde_live_response-{version}.tar.gz"
    wheels = [wheel.file for wheel in WHEELS if wheel.file]
    if not wheels or not source.exists():
        sys.exit("no wheel, or no source archive: run `make wheels`")
    check_archive(source, IN_SOURCE, SOURCE_PLACES, read_source(source))
    for wheel in wheels:
        if f"-{version}-" not in wheel.name:
            sys.exit(f"{wheel.name} is of another version")
        check_archive(wheel, IN_WHEEL, WHEEL_PLACES, read_wheel(wheel))
    twine = [sys.executable, "-m", "twine", "check", "--strict", str(source), *map(str, wheels)]
    subprocess.run(twine, check=True)
    native = WHEELS[0].file
    if native:
        print(f"installed: {smoke(find_python(PYTHONS[0]), native)}")
    print(f"{version} can be released")
    return 0


if __name__ == "__main__":
    sys.exit(main())
