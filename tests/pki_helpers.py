"""Creates keys, certificates and PKCS#12 files with openssl."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def run_openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def make_self_signed(folder: Path, name: str, *key: str) -> None:
    """Create `name`.key (PKCS#8 without a password) and `name`.crt."""
    kind = key or ("rsa:2048",)
    options = [
        "-nodes",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.crt",
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
    ]
    run_openssl(folder, "req", "-x509", "-newkey", *kind, *options)


def make_authority(folder: Path, name: str) -> Path:
    """Create a certificate authority: `name`.key and `name`.crt. Returns the path of the latter."""
    make_self_signed(folder, name)
    return folder / f"{name}.crt"


def make_signed(folder: Path, name: str, by: str, alternatives: str) -> None:
    """Create `name`.key and `name`.crt with alternative names like `DNS:localhost,IP:127.0.0.1`."""
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={alternatives}\n", encoding="ascii")
    request = ["-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"]
    run_openssl(folder, "req", "-new", "-newkey", "rsa:2048", *request)
    issuer = ["-CA", f"{by}.crt", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", "2"]
    run_openssl(
        folder,
        "x509",
        "-req",
        "-in",
        f"{name}.csr",
        "-out",
        f"{name}.crt",
        *issuer,
        "-extfile",
        extensions.name,
    )


def make_expired(folder: Path, name: str, by: str) -> None:
    """Sign `name`.csr again, with the extensions of `signed`, for a validity in the past."""
    lines = [
        "[ca]",
        "default_ca=it",
        "[it]",
        "database=index",
        "new_certs_dir=.",
        "rand_serial=yes",
        "policy=any",
    ]
    lines += ["default_md=sha256", "[any]", "commonName=supplied"]
    (folder / "ca.cnf").write_text("\n".join(lines) + "\n", encoding="ascii")
    (folder / "index").touch()
    day = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
    issuer = ["-cert", f"{by}.crt", "-keyfile", f"{by}.key", "-extfile", f"{name}.ext"]
    run_openssl(
        folder,
        "ca",
        "-batch",
        "-config",
        "ca.cnf",
        "-in",
        f"{name}.csr",
        "-out",
        f"{name}.crt",
        *issuer,
        *day,
    )


def make_pkcs12(folder: Path, of: str, out: str, password: str, *options: str) -> bytes:
    files = ["-inkey", f"{of}.key", "-in", f"{of}.crt", "-out", out]
    run_openssl(folder, "pkcs12", "-export", *files, "-passout", f"pass:{password}", *options)
    return (folder / out).read_bytes()
