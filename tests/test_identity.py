"""Signing in without a secret: managed identity, federated token, az, the environment."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pki_helpers import make_self_signed
from runtime_helpers import requests_of
from web_helpers import RecordedRequest, WebResponse, WebServer, web

from mde_live_response import (
    AuthenticationError,
    AzureCliCredential,
    ClientCertificateCredential,
    ClientSecretCredential,
    ConnectionFailedError,
    InvalidRequestError,
    LiveResponseClient,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from mde_live_response.emulator import Emulator

RESOURCE = "https://api.securitycenter.microsoft.com"
VARIABLES = (
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def granted(emulator: Emulator, **more: Any) -> WebResponse:
    return WebResponse(200, {"access_token": emulator.token, "token_type": "Bearer", **more})


@pytest.fixture
def imds(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    def answer(asked: RecordedRequest) -> WebResponse:
        if asked.headers.get("metadata") != "true":
            return WebResponse(400, {"error": "bad_request_102"})
        end = str(int(time.time() + 3600))
        return granted(
            emulator, expires_on=end, expires_in="3600", resource=asked.query.get("resource")
        )

    with web(answer) as served:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", served.url)
        # Requests to the platform never go through a proxy: this one would refuse.
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        yield served


def test_a_system_assigned_identity(imds: WebServer, emulator: Emulator) -> None:
    client = emulator.client(credential=ManagedIdentityCredential())
    assert len(client.list_machines()) == 3
    assert len(asyncio.run(client.list_machines_async())) == 3
    assert client.tenant_id == emulator.tenant_id
    (asked,) = imds.requests
    assert (asked.method, asked.path) == ("GET", "/metadata/identity/oauth2/token")
    assert asked.query == {"api-version": "2018-02-01", "resource": RESOURCE}


def test_a_user_assigned_identity(
    imds: WebServer, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.client(credential=ManagedIdentityCredential(client_id="given")).list_machines()
    monkeypatch.setenv("AZURE_CLIENT_ID", "from the environment")
    emulator.client(credential=ManagedIdentityCredential()).list_machines()
    assert [asked.query["client_id"] for asked in imds.requests] == [
        "given",
        "from the environment",
    ]


def test_an_app_service(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def answer(asked: RecordedRequest) -> WebResponse:
        if asked.headers.get("x-identity-header") != "hush":
            return WebResponse(401, {"message": "no header"})
        return granted(emulator, expires_on=int(time.time() + 3600))

    with web(answer) as service:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{service.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "hush")
        assert (
            len(
                emulator.client(
                    credential=ManagedIdentityCredential(client_id="app")
                ).list_machines()
            )
            == 3
        )
        # Without a credential argument, the environment decides.
        monkeypatch.setenv("MDE_LIVE_RESPONSE_ENDPOINT", emulator.url)
        assert len(LiveResponseClient().list_machines()) == 3
        first, second = service.requests
        assert (first.path, first.query["client_id"]) == ("/msi/token", "app")
        assert second.query == {"api-version": "2019-08-01", "resource": RESOURCE}
        monkeypatch.setenv("IDENTITY_HEADER", "hush-hush")
        with pytest.raises(AuthenticationError, match="401: no header") as caught:
            emulator.client(credential=ManagedIdentityCredential()).list_machines()
    assert "hush" not in f"{caught.value} {caught.value.__dict__} {caplog.text}"


def test_a_refusing_platform_is_an_error(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = {"error": "invalid_request", "error_description": "Identity not found"}
    with web(lambda _: WebResponse(400, refusal)) as platform:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", platform.url)
        with pytest.raises(AuthenticationError, match="400: Identity not found") as caught:
            emulator.client(credential=ManagedIdentityCredential()).list_machines()
        assert len(platform.requests) == 1
    assert "assign an identity" in str(caught.value.hint)
    assert caught.value.code == "invalid_request"
    with pytest.raises(ConnectionFailedError, match="managed identity of this machine") as gone:
        emulator.client(credential=ManagedIdentityCredential()).list_machines()
    assert "in Azure" in str(gone.value.hint)
    assert not requests_of(emulator, "machines")


def test_a_platform_during_an_update_is_retried(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([WebResponse(404), WebResponse(410)])
    with web(lambda _: next(answers, None) or granted(emulator, expires_in="3600")) as platform:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", platform.url)
        assert len(emulator.client(credential=ManagedIdentityCredential()).list_machines()) == 3
        assert len(platform.requests) == 3


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
    scope = f"{RESOURCE}/.default"
    expected = [
        "account",
        "get-access-token",
        "--output",
        "json",
        "--scope",
        scope,
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
    emulator: Emulator,
    imds: WebServer,
    az: Callable[[str], Path],
    issuer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    azure = pytest.importorskip(
        "azure.identity", reason="azure-identity is in requirements-dev.txt"
    )
    monkeypatch.delenv("HTTP_PROXY")
    monkeypatch.delenv("ALL_PROXY")
    plain = emulator
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
    managed = azure.ManagedIdentityCredential(client_id="mine")
    assert len(plain.client(credential=managed).list_machines()) == 3
    assert imds.requests[-1].query["client_id"] == "mine"


SECRETS: list[Callable[[Path], Any]] = [
    lambda _: ClientSecretCredential("t.example.test", "c", "hush"),
    lambda issuer: ClientCertificateCredential(
        "t.example.test",
        "c",
        (issuer / "issuer.key").read_bytes() + (issuer / "issuer.crt").read_bytes(),
    ),
]


@pytest.mark.parametrize("make", SECRETS)
@pytest.mark.parametrize(
    "way", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda way: way.__name__
)
def test_a_secret_is_not_pickled(
    way: Callable[[Any], Any], make: Callable[[Path], Any], issuer: Path
) -> None:
    credential = make(issuer)
    with pytest.raises(TypeError, match="not pickled") as caught:
        way(credential)
    assert "hush" not in f"{caught.value} {credential!r}"
    assert "c in t.example.test" in repr(credential)


NO_SECRETS: list[Any] = [
    WorkloadIdentityCredential(
        tenant_id="t.example.test", client_id="c", token_file_path="/f", authority="a.example.test"
    ),
    ManagedIdentityCredential(),
    ManagedIdentityCredential(client_id="c"),
    AzureCliCredential("t.example.test", process_timeout=3),
]


@pytest.mark.parametrize("credential", NO_SECRETS, ids=repr)
@pytest.mark.parametrize(
    "way", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy, copy.deepcopy]
)
def test_a_credential_without_a_secret_is_pickled(
    way: Callable[[Any], Any], credential: Any
) -> None:
    again = way(credential)
    assert type(again) is type(credential)
    assert repr(again) == repr(credential)
    state = [
        getattr(one, "__getnewargs_ex__", lambda one=one: one._process_timeout)()
        for one in (credential, again)
    ]
    assert state[0] == state[1]
