"""Claims challenges: the claims of a 401 are passed to the credential once, past every cache."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from typing import Any, NamedTuple

import pytest
from runtime_helpers import requests_of
from web_helpers import WebResponse, web

from mde_live_response import (
    AuthenticationError,
    AzureCliCredential,
    ClientSecretCredential,
    Command,
    ManagedIdentityCredential,
)
from mde_live_response.emulator import Emulator

MACHINE = "ws-0001.example.test"
CLAIMS = json.dumps({"access_token": {"nbf": {"essential": True, "value": "1700000000"}}})


def challenge(
    emulator: Emulator, times: int = 1, method: str = "GET", route: str = "machines"
) -> None:
    asked = b64encode(CLAIMS.encode()).decode()
    header = (
        f'Bearer realm="", authorization_uri="x", error="insufficient_claims", claims="{asked}"'
    )
    emulator.fault(
        method, route, "status", status=401, headers={"WWW-Authenticate": header}, times=times
    )


class AccessToken(NamedTuple):
    token: str
    expires_on: int


class Source:
    """A credential that records the arguments of each call."""

    def __init__(self, emulator: Emulator) -> None:
        self.token, self.asked = emulator.token, list[dict[str, Any]]()

    def record(self, options: dict[str, Any]) -> AccessToken:
        self.asked.append(options)
        return AccessToken(self.token, int(time.time() + 3600))


class Sync(Source):
    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return self.record(options)


class Async(Source):
    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        await asyncio.sleep(0)
        return self.record(options)


class Info(Source):
    def get_token_info(self, *scopes: str, options: dict[str, Any] | None = None) -> AccessToken:
        return self.record(options or {})


class ClaimsAlone(Source):
    def get_token(self, *scopes: str, claims: str | None = None) -> AccessToken:
        return self.record({"claims": claims} if claims else {})


class Plain(Source):
    def get_token(self, scope: str) -> AccessToken:
        return self.record({})


class Function(Source):
    def __call__(self) -> str:
        return self.record({}).token


CAE = {"claims": CLAIMS, "enable_cae": True}
KINDS: dict[type[Source], dict[str, Any]] = {
    Sync: CAE,
    Async: CAE,
    Info: CAE,
    ClaimsAlone: {"claims": CLAIMS},
    Plain: {},
    Function: {},
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_caller_credential_gets_the_claims_once(kind: type[Source], emulator: Emulator) -> None:
    source: Any = kind(emulator)
    client = emulator.client(credential=source)
    client.list_machines()
    challenge(emulator)
    assert len(client.list_machines()) == 3
    assert source.asked == [{}, KINDS[kind]]
    emulator.fault("GET", "machines", "expire_token")
    source.token = emulator.token_with("Machine.Read.All")
    assert len(asyncio.run(client.list_machines_async())) == 3
    assert source.asked == [{}, KINDS[kind], {}]


def test_a_second_challenge_is_an_error(emulator: Emulator) -> None:
    source = Sync(emulator)
    client = emulator.client(credential=source)
    challenge(emulator, times=2)
    with pytest.raises(AuthenticationError) as caught:
        client.list_machines()
    assert "conditional access" in str(caught.value.hint)
    assert source.asked == [{}, CAE]
    # A call answers one challenge only; the next call answers the second.
    assert len(client.list_machines()) == 3
    assert source.asked == [{}, CAE, CAE]


def test_a_submit_answers_a_challenge(emulator: Emulator) -> None:
    emulator.add_library_file("a.ps1", b"")
    source = Sync(emulator)
    client = emulator.client(credential=source)
    challenge(emulator, method="POST", route="runliveresponse")
    assert client.run(MACHINE, Command.run_script("a.ps1"), "why").ok
    assert source.asked == [{}, CAE]
    assert not any(emulator.violations.values())


def test_a_secret_login_sends_the_claims(emulator: Emulator) -> None:
    with web(
        lambda _: WebResponse(200, {"access_token": emulator.token, "expires_in": 3600})
    ) as login:
        credential = ClientSecretCredential(
            emulator.tenant_id, emulator.client_id, "hush", authority=login.url
        )
        client = emulator.client(credential=credential)
        client.list_machines()
        challenge(emulator)
        client.list_machines()
    assert [asked.form.get("claims") for asked in login.requests] == [None, CLAIMS]


def test_a_managed_identity_requests_a_new_token(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web(
        lambda _: WebResponse(200, {"access_token": emulator.token, "expires_in": 3600})
    ) as platform:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", platform.url)
        client = emulator.client(credential=ManagedIdentityCredential())
        client.list_machines()
        challenge(emulator)
        client.list_machines()
        assert len(platform.requests) == 2


def test_az_requires_a_new_sign_in() -> None:
    with pytest.raises(AuthenticationError, match="new sign-in") as caught:
        AzureCliCredential().get_token("scope", claims=CLAIMS)
    assert "az login" in str(caught.value.hint)


@pytest.mark.parametrize(
    "header", ["Bearer", 'Bearer error="invalid_token"', 'Bearer claims="e30", error="other"']
)
def test_a_401_without_a_challenge_requests_no_claims(header: str, emulator: Emulator) -> None:
    source = Sync(emulator)
    emulator.fault("GET", "machines", "status", status=401, headers={"WWW-Authenticate": header})
    assert len(emulator.client(credential=source).list_machines()) == 3
    assert source.asked == [{}, {}]


def azure_secret(azure: Any, emulator: Emulator) -> Any:
    options = {"authority": emulator.login_url, "disable_instance_discovery": True}
    verify = {"connection_verify": emulator.ca_bundle}
    return azure.ClientSecretCredential(
        emulator.tenant_id, emulator.client_id, emulator.client_secret, **options, **verify
    )


def logins(emulator: Emulator) -> int:
    return sum(call["method"] == "POST" for call in requests_of(emulator, "token"))


def test_a_challenge_bypasses_the_cache_of_azure_identity() -> None:
    azure = pytest.importorskip(
        "azure.identity", reason="azure-identity is in requirements-dev.txt"
    )
    with Emulator(tls=True) as emulator, azure_secret(azure, emulator) as credential:
        client = emulator.client(credential=credential)
        client.list_machines()
        emulator.fault("GET", "machines", "status", status=401)
        client.list_machines()
        assert logins(emulator) == 1
        challenge(emulator)
        assert len(client.list_machines()) == 3
        assert logins(emulator) == 2
