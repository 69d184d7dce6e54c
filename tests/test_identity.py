"""Signing in without a secret: a federated token, az, and what the environment names."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from credential_helpers import SCOPE, clear_variables, granted
from pki_helpers import make_self_signed
from web_helpers import RecordedRequest, WebResponse, web

from mde_live_response import (
    AuthenticationError,
    AzureCliCredential,
    InvalidRequestError,
    LiveResponseClient,
    WorkloadIdentityCredential,
)
from mde_live_response.emulator import Emulator


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_variables(monkeypatch)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("issuer")
    make_self_signed(folder, "issuer")
    return folder


def federated(issuer: Path, emulator: Emulator) -> str:
    """A token that the emulator verifies with the registered certificate."""
    import hashlib
    import ssl
    from base64 import urlsafe_b64encode

    import jwt

    certificate = (issuer / "issuer.crt").read_text(encoding="ascii")
    emulator.add_certificate(certificate.encode())
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest()
    now = int(time.time())
    claims = {
        "iss": emulator.client_id,
        "sub": emulator.client_id,
        "aud": f"{emulator.login_url}/{emulator.tenant_id}/oauth2/v2.0/token",
        "nbf": now,
        "exp": now + 3600,
    }
    headers = {"x5t#S256": urlsafe_b64encode(digest).decode().rstrip("=")}
    return jwt.encode(
        claims,
        (issuer / "issuer.key").read_text(encoding="ascii"),
        algorithm="PS256",
        headers=headers,
    )


def test_a_federated_token(
    issuer: Path, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("stale.token.here\n", encoding="ascii")
    credential = WorkloadIdentityCredential(
        tenant_id=emulator.tenant_id,
        client_id=emulator.client_id,
        token_file_path=file,
        authority=emulator.login_url,
    )
    client = emulator.client(credential=credential)
    with pytest.raises(AuthenticationError, match="AADSTS50027"):
        client.list_machines()
    file.write_text(federated(issuer, emulator) + "\n", encoding="ascii")
    assert len(client.list_machines()) == 3
    for name, value in {
        "AZURE_TENANT_ID": emulator.tenant_id,
        "AZURE_CLIENT_ID": emulator.client_id,
        "AZURE_FEDERATED_TOKEN_FILE": str(file),
        "AZURE_AUTHORITY_HOST": emulator.login_url,
        "MDE_LIVE_RESPONSE_ENDPOINT": emulator.url,
    }.items():
        monkeypatch.setenv(name, value)
    assert len(emulator.client(credential=WorkloadIdentityCredential()).list_machines()) == 3
    assert len(LiveResponseClient().list_machines()) == 3
    monkeypatch.delenv("AZURE_CLIENT_ID")
    for make in (WorkloadIdentityCredential, LiveResponseClient):
        with pytest.raises(InvalidRequestError, match="lacks AZURE_CLIENT_ID"):
            make()


@pytest.mark.parametrize("content", [None, "", "two words"], ids=repr)
def test_a_file_without_a_token(content: str | None, emulator: Emulator, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content, encoding="ascii")
    credential = WorkloadIdentityCredential(
        tenant_id=emulator.tenant_id,
        client_id="c",
        token_file_path=file,
        authority=emulator.login_url,
    )
    with pytest.raises(AuthenticationError) as caught:
        emulator.client(credential=credential).list_machines()
    assert str(file) in str(caught.value)
    assert "AZURE_FEDERATED_TOKEN_FILE" in str(caught.value.hint)
    assert not emulator.requests


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put an `az` on the PATH that runs these lines of Python and records its arguments."""

    def install(lines: str) -> Path:
        script, noted = tmp_path / "az", tmp_path / "arguments"
        head = (
            f"#!{sys.executable}\nimport json, sys, time\n"
            f"open({str(noted)!r}, 'w').write(json.dumps(sys.argv[1:]))\n"
        )
        script.write_text(head + lines, encoding="utf-8")
        script.chmod(0o700)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return noted

    return install


def test_az(az: Callable[[str], Path], emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    token = {
        "accessToken": emulator.token,
        "expires_on": int(time.time() + 3600),
        "tokenType": "Bearer",
    }
    noted = az(f"print({str(token)!r}.replace(\"'\", '\"'))")
    client = emulator.client(credential=AzureCliCredential("contoso.example.test"))
    assert len(client.list_machines()) == 3
    assert len(asyncio.run(client.list_machines_async())) == 3
    arguments = noted.read_text(encoding="ascii")
    expected = [
        "account",
        "get-access-token",
        "--output",
        "json",
        "--scope",
        SCOPE,
        "--tenant",
        "contoso.example.test",
    ]
    assert arguments == str(expected).replace("'", '"')
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    monkeypatch.setenv("MDE_LIVE_RESPONSE_ENDPOINT", emulator.url)
    assert len(LiveResponseClient().list_machines()) == 3
    assert "--tenant" not in noted.read_text(encoding="ascii")


FAILURES = {
    "not signed in": (
        "sys.exit('ERROR: Please run az login to set up account.')",
        "Please run az login",
        "az login",
    ),
    "no token": ('print(\'{"accessTok": "hush"}\')', "printed no token", "az upgrade"),
    "no JSON": ("print('hush')", "printed no token", "az upgrade"),
    "too slow": ("print('hush', flush=True)\ntime.sleep(60)", "within 0.5 s", "process_timeout"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failing_az_is_an_error(case: str, az: Callable[[str], Path], emulator: Emulator) -> None:
    lines, message, hint = FAILURES[case]
    az(lines)
    with pytest.raises(AuthenticationError, match=message) as caught:
        emulator.client(
            credential=AzureCliCredential(process_timeout=0.5 if case == "too slow" else 30)
        ).list_machines()
    assert hint in str(caught.value.hint)
    assert "hush" not in locals_of_our_frames(caught.value)
    assert not emulator.requests


def locals_of_our_frames(error: BaseException | None) -> str:
    """Format the traceback with local variables, causes and contexts, for the package's frames."""
    shown = ""
    while error is not None:
        shown += f"{error!r} {error.__dict__}"
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        ours = [
            frame
            for frame in frames
            if Path(frame.f_code.co_filename).parent.name == "mde_live_response"
        ]
        assert ours
        shown += " ".join(repr(frame.f_locals) for frame in ours)
        error = error.__cause__ or error.__context__
    return shown


def test_a_missing_az_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, emulator: Emulator
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AuthenticationError, match="not on the PATH"):
        emulator.client(credential=AzureCliCredential()).list_machines()
    for wrong in ("", "a b", "x&y", "ä"):
        with pytest.raises(InvalidRequestError, match="neither a tenant id nor a domain"):
            AzureCliCredential(wrong)
    with pytest.raises(InvalidRequestError, match="process_timeout"):
        AzureCliCredential(process_timeout=0)


NEEDED = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")


@pytest.mark.parametrize("missing", NEEDED)
def test_the_error_names_a_missing_variable(
    missing: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    assert len(LiveResponseClient().list_machines()) == 3
    monkeypatch.setenv(missing, "")
    with pytest.raises(InvalidRequestError, match=missing) as caught:
        LiveResponseClient()
    assert not [name for name in NEEDED if name != missing and name in str(caught.value)]


def test_the_order_of_the_environment(
    emulator: Emulator, issuer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set each source together with the later ones; the emulator records which one was used."""
    pem = issuer / "all.pem"
    pem.write_bytes((issuer / "issuer.key").read_bytes() + (issuer / "issuer.crt").read_bytes())
    seen: list[str] = []

    def login(asked: RecordedRequest) -> WebResponse:
        seen.append(
            "secret"
            if "client_secret" in asked.form
            else asked.form["client_assertion"].split(".")[0]
        )
        return granted(emulator, expires_in=3600)

    def platforms(_: RecordedRequest) -> WebResponse:
        seen.append("platform")
        return granted(emulator)

    token_file = issuer / "token"
    token_file.write_text("federated.to.ken", encoding="ascii")
    with web(login) as host, web(platforms) as platform:
        for name, value in {
            "MDE_LIVE_RESPONSE_ENDPOINT": emulator.url,
            "AZURE_AUTHORITY_HOST": host.url,
            "AZURE_TENANT_ID": emulator.tenant_id,
            "AZURE_CLIENT_ID": emulator.client_id,
            "AZURE_CLIENT_SECRET": "hush",
            "AZURE_CLIENT_CERTIFICATE_PATH": str(pem),
            "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
            "IDENTITY_ENDPOINT": f"{platform.url}/msi",
            "IDENTITY_HEADER": "header",
        }.items():
            monkeypatch.setenv(name, value)
        gone = (
            "AZURE_CLIENT_SECRET",
            "AZURE_CLIENT_CERTIFICATE_PATH",
            "AZURE_FEDERATED_TOKEN_FILE",
            "IDENTITY_HEADER",
        )
        for name in gone:
            LiveResponseClient().list_machines()
            monkeypatch.delenv(name)
        with pytest.raises(InvalidRequestError, match="AZURE_CLIENT_SECRET"):
            LiveResponseClient()
    assert (seen[0], seen[1][:3], seen[2], seen[3]) == ("secret", "eyJ", "federated", "platform")


def test_credentials_of_azure_identity(
    az: Callable[[str], Path], issuer: Path, tmp_path: Path
) -> None:
    azure = pytest.importorskip(
        "azure.identity", reason="azure-identity is in requirements-dev.txt"
    )
    with Emulator(tls=True, speed=20.0) as emulator:
        token = {
            "accessToken": emulator.token,
            "expires_on": int(time.time() + 3600),
            "expiresOn": "2099-01-01 00:00:00",
        }
        az(f"print({str(token)!r}.replace(\"'\", '\"'))")
        file = tmp_path / "token"
        file.write_text(federated(issuer, emulator), encoding="ascii")
        workload = azure.WorkloadIdentityCredential(
            tenant_id=emulator.tenant_id,
            client_id=emulator.client_id,
            token_file_path=str(file),
            authority=emulator.login_url,
            disable_instance_discovery=True,
            connection_verify=emulator.ca_bundle,
        )
        for credential in (workload, azure.AzureCliCredential()):
            assert len(emulator.client(credential=credential).list_machines()) == 3
