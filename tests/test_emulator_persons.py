"""Persons sign in at the emulator with Microsoft's own clients, and run a session."""

import importlib
from typing import Any

import pytest
from azure.identity import DeviceCodeCredential

from mde_live_response import Command
from mde_live_response.emulator import Emulator
from mde_live_response.errors import PermissionDeniedError

# It has no types.
MSAL: Any = importlib.import_module("msal")
API = "https://api.securitycenter.microsoft.com"


def test_a_device_code_signs_a_person_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(tls=True, speed=50) as emulator:
        assert emulator.ca_bundle is not None
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", emulator.ca_bundle)
        emulator.add_library_file("a.ps1")
        shown: list[str] = []
        credential = DeviceCodeCredential(
            emulator.client_id,
            tenant_id=emulator.tenant_id,
            authority=emulator.login_url,
            disable_instance_discovery=True,
            prompt_callback=lambda _uri, code, _expires: shown.append(code),
        )
        with emulator.client(credential=credential) as client:
            result = client.run("ws-0001.example.test", [Command.run_script("a.ps1")], comment="c")
        assert result.ok
        assert result.scripts
        assert result.action.requestor == "analyst@example.test"
        assert len(shown) == 1


@pytest.mark.filterwarnings("ignore:This API has been deprecated")
def test_a_password_and_a_refresh_token(monkeypatch: pytest.MonkeyPatch) -> None:
    scopes = [f"{API}/Machine.Read", f"{API}/Machine.LiveResponse"]
    with Emulator(proxy=True) as emulator:
        assert emulator.ca_bundle is not None
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", emulator.ca_bundle)
        application = MSAL.PublicClientApplication(
            emulator.client_id,
            authority=f"https://login.microsoftonline.com/{emulator.tenant_id}",
            proxies={"https": emulator.proxy_url},
        )
        answer = application.acquire_token_by_username_password("ann@example.test", "any", scopes)
        assert sorted(answer["scope"].split()) == sorted(scopes)
        account = application.get_accounts()[0]
        assert account["username"] == "ann@example.test"
        again = application.acquire_token_silent(scopes, account, force_refresh=True)
        assert again["access_token"] != answer["access_token"]
        with emulator.client(credential=again["access_token"]) as client:
            assert client.list_machines()
            with pytest.raises(PermissionDeniedError, match=r"Library\.Manage"):
                client.library.list_files()
