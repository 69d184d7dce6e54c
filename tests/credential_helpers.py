"""Credentials that count their calls, and what tests of signing in share."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from web_helpers import WebResponse

if TYPE_CHECKING:
    import pytest

    from mde_live_response import LiveResponseClient
    from mde_live_response.emulator import Emulator

RESOURCE = "https://api.securitycenter.microsoft.com"
SCOPE = f"{RESOURCE}/.default"
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


class AccessToken(NamedTuple):
    token: str
    expires_on: int


class Source:
    """A credential with `get_token` that counts its calls."""

    def __init__(self, token: str, lasts: float = 3600.0) -> None:
        self.token, self.lasts, self.scopes = token, lasts, list[str]()

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.scopes.extend(scopes)
        return AccessToken(self.token, int(time.time() + self.lasts))


class AsyncSource(Source):
    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().get_token(*scopes)


def client_with(emulator: Emulator, credential: Any, **options: Any) -> LiveResponseClient:
    return emulator.client(credential=credential, **options)


def clear_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset each variable that selects a credential."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def granted(emulator: Emulator, **more: Any) -> WebResponse:
    return WebResponse(200, {"access_token": emulator.token, "token_type": "Bearer", **more})
