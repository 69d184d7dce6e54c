"""Signing in as the identity that Azure gives to a machine or an app."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator

import pytest
from credential_helpers import RESOURCE, clear_variables, granted
from runtime_helpers import requests_of
from web_helpers import RecordedRequest, WebResponse, WebServer, web

from mde_live_response import (
    AuthenticationError,
    ConnectionFailedError,
    LiveResponseClient,
    ManagedIdentityCredential,
)
from mde_live_response.emulator import Emulator


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_variables(monkeypatch)


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


def test_the_managed_identity_of_azure_identity(
    imds: WebServer, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = pytest.importorskip(
        "azure.identity", reason="azure-identity is in requirements-dev.txt"
    )
    monkeypatch.delenv("HTTP_PROXY")
    monkeypatch.delenv("ALL_PROXY")
    managed = azure.ManagedIdentityCredential(client_id="mine")
    assert len(emulator.client(credential=managed).list_machines()) == 3
    assert imds.requests[-1].query["client_id"] == "mine"
