"""Signing in with a certificate from openssl. The emulator checks each signature."""

from __future__ import annotations

import hashlib
import random
import ssl
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from pki_helpers import make_authority, make_pkcs12, make_self_signed, run_openssl
from runtime_helpers import requests_of
from web_helpers import WebResponse, web

from mde_live_response import AuthenticationError, ClientCertificateCredential, InvalidRequestError
from mde_live_response.emulator import Emulator

PASSWORD = "hush & päß"
LEGACY = ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"]
NOTHING = ["-keypbe", "NONE", "-certpbe", "NONE"]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    make_self_signed(folder, "own")
    make_self_signed(folder, "other")
    make_authority(folder, "authority")
    return folder


def pem(folder: Path, key: str) -> bytes:
    return (folder / key).read_bytes() + (folder / "own.crt").read_bytes()


def pkcs1(folder: Path) -> bytes:
    run_openssl(folder, "rsa", "-in", "own.key", "-out", "pkcs1.key", "-traditional")
    return pem(folder, "pkcs1.key")


def encrypted(folder: Path) -> bytes:
    run_openssl(
        folder,
        "pkcs8",
        "-topk8",
        "-in",
        "own.key",
        "-out",
        "enc.key",
        "-v2",
        "aes-256-cbc",
        "-passout",
        f"pass:{PASSWORD}",
    )
    return pem(folder, "enc.key")


def from_pkcs12(folder: Path) -> bytes:
    """PEM with the text that openssl writes around each part."""
    make_pkcs12(folder, "own", "again.p12", "x")
    run_openssl(
        folder, "pkcs12", "-in", "again.p12", "-nodes", "-passin", "pass:x", "-out", "again.pem"
    )
    return (folder / "again.pem").read_bytes()


def chained(folder: Path) -> bytes:
    return make_pkcs12(
        folder,
        "own",
        "chained.p12",
        PASSWORD,
        "-name",
        "ours",
        "-certfile",
        "authority.crt",
        "-certfile",
        "other.crt",
    )


FORMS: dict[str, tuple[Callable[[Path], bytes], str | None]] = {
    "PEM": (lambda folder: pem(folder, "own.key"), None),
    "PEM, PKCS#1": (pkcs1, None),
    "PEM, encrypted": (encrypted, PASSWORD),
    "PEM, of PKCS#12": (from_pkcs12, None),
    "PKCS#12": (lambda folder: make_pkcs12(folder, "own", "a.p12", PASSWORD), PASSWORD),
    "PKCS#12 with others' certificates": (chained, PASSWORD),
    "PKCS#12, empty password": (lambda folder: make_pkcs12(folder, "own", "b.p12", ""), None),
    "PKCS#12, unencrypted": (
        lambda folder: make_pkcs12(folder, "own", "c.p12", "", *NOTHING),
        None,
    ),
    "PKCS#12, no MAC": (
        lambda folder: make_pkcs12(folder, "own", "d.p12", PASSWORD, "-nomac"),
        PASSWORD,
    ),
    "PKCS#12, MAC by SHA-512": (
        lambda folder: make_pkcs12(folder, "own", "e.p12", PASSWORD, "-macalg", "sha512"),
        PASSWORD,
    ),
    "PKCS#12 of Windows": (
        lambda folder: make_pkcs12(folder, "own", "f.p12", PASSWORD, *LEGACY),
        PASSWORD,
    ),
    "PKCS#12, AES-128": (
        lambda folder: make_pkcs12(
            folder, "own", "g.p12", PASSWORD, "-keypbe", "AES-128-CBC", "-certpbe", "AES-128-CBC"
        ),
        PASSWORD,
    ),
}


def test_openssl_uses_the_requested_ciphers(pki: Path) -> None:
    make_pkcs12(pki, "own", "shown.p12", "x")
    command = ["openssl", "pkcs12", "-in", "shown.p12", "-info", "-noout", "-passin", "pass:x"]
    shown = subprocess.run(command, cwd=pki, capture_output=True, text=True, check=True).stderr
    assert "MAC: sha256" in shown
    assert shown.count("PBES2, PBKDF2, AES-256-CBC") == 2


@pytest.mark.parametrize("form", FORMS)
def test_every_format_signs_in(form: str, pki: Path, emulator: Emulator, tmp_path: Path) -> None:
    make, password = FORMS[form]
    content = make(pki)
    emulator.add_certificate((pki / "own.crt").read_bytes())
    path = tmp_path / "certificate"
    path.write_bytes(content)
    ways: list[Any] = [content, path, str(path)]
    ways += [content.decode()] if form.startswith("PEM") else []
    for way in ways:
        credential = ClientCertificateCredential(
            emulator.tenant_id,
            emulator.client_id,
            way,
            password=password,
            authority=emulator.login_url,
        )
        assert len(emulator.client(credential=credential).list_machines()) == 3
    assert len(requests_of(emulator, "token")) == len(ways)


def test_the_login_request_has_a_signed_assertion(pki: Path, emulator: Emulator) -> None:
    with web(
        lambda _: WebResponse(200, {"access_token": emulator.token, "expires_in": 0.001})
    ) as login:
        credential = ClientCertificateCredential(
            emulator.tenant_id, emulator.client_id, pem(pki, "own.key"), authority=login.url
        )
        client = emulator.client(credential=credential)
        for _ in range(2):
            client.list_machines()
    forms = [asked.form for asked in login.requests]
    certificate = (pki / "own.crt").read_text(encoding="ascii")
    url = f"{login.url}/{emulator.tenant_id}/oauth2/v2.0/token"
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    claims = []
    for form in forms:
        assert "client_secret" not in form
        assert form["grant_type"] == "client_credentials"
        assert (
            form["client_assertion_type"]
            == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        )
        header = jwt.get_unverified_header(form["client_assertion"])
        thumbprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest()
        named = urlsafe_b64encode(thumbprint).decode().rstrip("=")
        assert header == {"alg": "PS256", "typ": "JWT", "x5t#S256": named}
        assertion = form["client_assertion"]
        claims.append(jwt.decode(assertion, key, algorithms=["PS256"], audience=url))  # type: ignore[arg-type]
    assert all(claim["iss"] == claim["sub"] == emulator.client_id for claim in claims)
    assert all(300 <= claim["exp"] - claim["nbf"] <= 600 for claim in claims)
    assert len({claim["jti"] for claim in claims}) == len(claims) >= 2


def test_an_unregistered_certificate_is_refused(pki: Path, emulator: Emulator) -> None:
    emulator.add_certificate((pki / "other.crt").read_bytes())
    credential = ClientCertificateCredential(
        emulator.tenant_id, emulator.client_id, pem(pki, "own.key"), authority=emulator.login_url
    )
    with pytest.raises(AuthenticationError, match="AADSTS700027") as caught:
        emulator.client(credential=credential).list_machines()
    assert "upload it" in str(caught.value.hint)


def test_an_x509_v1_certificate_signs_in(pki: Path, emulator: Emulator) -> None:
    run_openssl(pki, "req", "-new", "-key", "own.key", "-out", "v1.csr", "-subj", "/CN=v1")
    run_openssl(
        pki, "x509", "-req", "-in", "v1.csr", "-key", "own.key", "-days", "2", "-out", "v1.crt"
    )
    content = (pki / "own.key").read_bytes() + (pki / "v1.crt").read_bytes()
    assert (
        b"Version: 1"
        in subprocess.run(
            ["openssl", "x509", "-in", "v1.crt", "-noout", "-text"],
            cwd=pki,
            capture_output=True,
            check=True,
        ).stdout
    )
    credential = ClientCertificateCredential(
        emulator.tenant_id, emulator.client_id, content, authority=emulator.login_url
    )
    assert len(emulator.client(credential=credential).list_machines()) == 3


def small(folder: Path) -> bytes:
    make_self_signed(folder, "small", "rsa:1024")
    return (folder / "small.key").read_bytes() + (folder / "small.crt").read_bytes()


def elliptic(folder: Path) -> bytes:
    make_self_signed(folder, "elliptic", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    return (folder / "elliptic.key").read_bytes() + (folder / "elliptic.crt").read_bytes()


def old_pem(folder: Path) -> bytes:
    key = [
        "-in",
        "own.key",
        "-out",
        "old.key",
        "-traditional",
        "-aes256",
        "-passout",
        f"pass:{PASSWORD}",
    ]
    run_openssl(folder, "rsa", *key)
    return pem(folder, "old.key")


REFUSED: dict[str, tuple[Callable[[Path], bytes], str | None, str]] = {
    "wrong password": (FORMS["PKCS#12"][0], "wrong hush", "password is wrong"),
    "wrong password, no MAC": (FORMS["PKCS#12, no MAC"][0], "wrong hush", "password is wrong"),
    "wrong password of Windows": (
        FORMS["PKCS#12 of Windows"][0],
        "wrong hush",
        "password is wrong",
    ),
    "wrong password of PEM": (encrypted, "wrong hush", "password is wrong"),
    "no password": (FORMS["PKCS#12"][0], None, "no password was given"),
    "no password for PEM": (encrypted, None, "no password was given"),
    "no key": (lambda folder: (folder / "own.crt").read_bytes(), None, "no private key"),
    "no certificate": (lambda folder: (folder / "own.key").read_bytes(), None, "no certificate"),
    "another key's certificate": (
        lambda folder: (folder / "own.key").read_bytes() + (folder / "other.crt").read_bytes(),
        None,
        "no certificate in it matches its private key",
    ),
    "two keys": (
        lambda folder: pem(folder, "own.key") + pem(folder, "other.key"),
        None,
        "more than one",
    ),
    "too small a key": (small, None, "not supported"),
    "an elliptic key": (elliptic, None, "not supported"),
    "PEM of old": (old_pem, PASSWORD, "legacy PEM encryption"),
    "nothing": (lambda _: b"", None, "neither PEM nor PKCS#12"),
    "no DER": (lambda _: b"\x30\x80hush", None, "neither PEM nor PKCS#12"),
    "damaged PEM": (lambda folder: pem(folder, "own.key").replace(b"MII", b"M*I"), None, "damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_unusable_certificate_is_an_error(case: str, pki: Path) -> None:
    make, password, words = REFUSED[case]
    with pytest.raises(InvalidRequestError, match=words) as caught:
        ClientCertificateCredential("t.example.test", "c", make(pki), password=password)
    assert caught.value.hint
    assert "hush" not in f"{caught.value!r} {caught.value.hint}"


def weakly_encrypted(folder: Path) -> bytes:
    run_openssl(
        folder,
        *["pkcs8", "-topk8", "-in", "own.key", "-out", "weak.key", "-v2", "aes-256-cbc"],
        *["-iter", "1", "-passout", f"pass:{PASSWORD}"],
    )
    return pem(folder, "weak.key")


@pytest.mark.parametrize(
    "make",
    [
        weakly_encrypted,
        lambda folder: make_pkcs12(folder, "own", "w1.p12", PASSWORD, "-nomac", "-iter", "1"),
        lambda folder: make_pkcs12(
            folder, "own", "w2.p12", PASSWORD, "-nomac", "-iter", "1", *LEGACY
        ),
    ],
    ids=["PEM", "PKCS#12", "PKCS#12 of Windows"],
)
def test_no_wrong_password_passes_for_another_fault(
    make: Callable[[Path], bytes], pki: Path
) -> None:
    """One wrong password in 256 decrypts to bytes with valid padding."""
    content = make(pki)
    for number in range(4096):
        with pytest.raises(InvalidRequestError, match="password is wrong"):
            ClientCertificateCredential("t.example.test", "c", content, password=f"wrong {number}")


def test_an_obsolete_cipher_is_an_error(pki: Path) -> None:
    content = make_pkcs12(pki, "own", "rc2.p12", PASSWORD, "-legacy")
    with pytest.raises(InvalidRequestError, match="not supported") as caught:
        ClientCertificateCredential("t.example.test", "c", content, password=PASSWORD)
    assert "openssl pkcs12 -legacy" in str(caught.value.hint)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ClientCertificateCredential("t.example.test", "c", tmp_path / "none.pem")
    wrong: Any = 5
    with pytest.raises(TypeError, match="path or bytes"):
        ClientCertificateCredential("t.example.test", "c", wrong)


@pytest.mark.parametrize(
    "form",
    ["PEM, encrypted", "PKCS#12", "PKCS#12, no MAC", "PKCS#12 of Windows", "PKCS#12, unencrypted"],
)
def test_damaged_input_never_crashes(form: str, pki: Path) -> None:
    make, password = FORMS[form]
    content, chance = make(pki), random.Random(1)
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(
            content[: chance.randrange(len(content))] if chance.random() < 0.2 else content
        )
        for _ in range(chance.randrange(1, 4) if damaged else 0):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            ClientCertificateCredential("t.example.test", "c", bytes(damaged), password=password)
            outcomes.add("read")
        except InvalidRequestError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_azure_identity_certificate_credential(pki: Path) -> None:
    azure = pytest.importorskip(
        "azure.identity", reason="azure-identity is in requirements-dev.txt"
    )
    with Emulator(tls=True, speed=20.0) as emulator:
        emulator.add_certificate((pki / "own.crt").read_bytes())
        options = {"authority": emulator.login_url, "disable_instance_discovery": True}
        content = FORMS["PKCS#12"][0](pki)
        with azure.CertificateCredential(
            emulator.tenant_id,
            emulator.client_id,
            certificate_data=content,
            password=PASSWORD,
            connection_verify=emulator.ca_bundle,
            **options,
        ) as credential:
            assert len(emulator.client(credential=credential).list_machines()) == 3
