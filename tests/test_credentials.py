"""Every kind of credential, including those of azure-identity, against the emulator."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from credential_helpers import SCOPE, AccessToken, AsyncSource, Source, client_with
from runtime_helpers import requests_of, wait_until

from mde_live_response import AuthenticationError, ClientSecretCredential
from mde_live_response._credential import get_shared_loop
from mde_live_response.emulator import Emulator


class InfoSource:
    """A credential with only the newer protocol of azure-identity, `get_token_info`."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token_info(self, *scopes: str, options: object = None) -> AccessToken:
        return AccessToken(self.token, int(time.time() + 3600))


def kind_of(value: object) -> str:
    """The name of a case. The address in a repr differs between processes."""
    return type(value).__name__


async def later(value: Any) -> Any:
    await asyncio.sleep(0.01)
    return value


FORMS: dict[str, Callable[[str], Any]] = {
    "token": lambda token: token,
    "callable": lambda token: lambda: token,
    "coroutine function": lambda token: lambda: later(token),
    "callable that gives an AccessToken": lambda token: (
        lambda: AccessToken(token, int(time.time() + 3600))
    ),
    "get_token": Source,
    "asynchronous get_token": AsyncSource,
    "get_token_info": InfoSource,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_works_blocking_and_with_asyncio(form: str, emulator: Emulator) -> None:
    client = client_with(emulator, FORMS[form](emulator.token))
    assert len(client.list_machines()) == 3
    assert len(asyncio.run(client.list_machines_async())) == 3
    assert not requests_of(emulator, "token")
    assert client.tenant_id == emulator.tenant_id


def test_the_scope_is_requested(emulator: Emulator) -> None:
    source = Source(emulator.token)
    client_with(emulator, source).list_machines()
    client_with(emulator, source, scope="api://mine/.default").list_machines()
    assert source.scopes == [SCOPE, "api://mine/.default"]


def test_a_blocked_loop_does_not_block_the_credential(emulator: Emulator) -> None:
    client = client_with(emulator, AsyncSource(emulator.token))

    async def main() -> None:
        assert len(client.list_machines()) == 3

    asyncio.run(main())


@pytest.fixture
def tls() -> Iterator[Emulator]:
    with Emulator(tls=True, speed=20.0) as emulator:
        yield emulator


def fetches(emulator: Emulator) -> list[Any]:
    return [call for call in emulator.requests if call["path"].endswith("/oauth2/v2.0/token")]


def test_azure_identity(tls: Emulator) -> None:
    azure = pytest.importorskip(
        "azure.identity", reason="azure-identity is in requirements-dev.txt"
    )
    options = {
        "authority": tls.login_url,
        "disable_instance_discovery": True,
        "connection_verify": tls.ca_bundle,
    }
    with azure.ClientSecretCredential(
        tls.tenant_id, tls.client_id, tls.client_secret, **options
    ) as credential:
        client = client_with(tls, credential)
        assert len(client.list_machines()) == 3
        assert len(asyncio.run(client.list_machines_async())) == 3

        async def main() -> None:
            assert len(client.list_machines()) == 3

        asyncio.run(main())
        assert len(fetches(tls)) == 1
    with azure.ClientSecretCredential(
        tls.tenant_id, tls.client_id, "wrong", **options
    ) as credential:
        from azure.core.exceptions import ClientAuthenticationError

        with pytest.raises(ClientAuthenticationError, match="AADSTS"):
            client_with(tls, credential).list_machines()


def test_azure_identity_asynchronous(tls: Emulator) -> None:
    azure = pytest.importorskip(
        "azure.identity.aio", reason="azure-identity is in requirements-dev.txt"
    )
    options = {
        "authority": tls.login_url,
        "disable_instance_discovery": True,
        "connection_verify": tls.ca_bundle,
    }

    async def main() -> None:
        async with azure.ClientSecretCredential(
            tls.tenant_id, tls.client_id, tls.client_secret, **options
        ) as ours:
            client = client_with(tls, ours)
            assert len(await client.list_machines_async()) == 3
            assert len(client.list_machines()) == 3
            assert len(fetches(tls)) == 1
        async with azure.ClientSecretCredential(
            tls.tenant_id, tls.client_id, "wrong", **options
        ) as wrong:
            from azure.core.exceptions import ClientAuthenticationError

            with pytest.raises(ClientAuthenticationError, match="AADSTS"):
                await client_with(tls, wrong).list_machines_async()
        ours = azure.ClientSecretCredential(
            tls.tenant_id, tls.client_id, tls.client_secret, **options
        )
        client = client_with(tls, ours)
        assert len(client.list_machines()) == 3  # this blocks the loop
        assert len(await client.list_machines_async()) == 3
        another = client_with(tls, ours)
        assert len(another.list_machines()) == 3
        # aiohttp closes a session only in the loop that used it first, and that was another loop.
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ours.close(), get_shared_loop()))

    asyncio.run(main())
    with_secret = ClientSecretCredential(
        tls.tenant_id, tls.client_id, tls.client_secret, authority=tls.login_url
    )
    assert len(client_with(tls, with_secret).list_machines()) == 3


class CustomBaseException(BaseException):
    """An exception that `except Exception` does not catch."""


@pytest.mark.parametrize(
    "raised",
    [KeyError("why"), CustomBaseException("why"), SystemExit(3), KeyboardInterrupt("why")],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
@pytest.mark.parametrize("door", ["blocking", "asyncio"])
def test_an_exception_of_a_credential_is_raised_unchanged(
    door: str, kind: str, raised: BaseException, emulator: Emulator
) -> None:
    failing = True

    def fail() -> str:
        if failing:
            raise raised
        return emulator.token

    async def fail_later() -> str:
        await asyncio.sleep(0)
        return fail()

    client = client_with(emulator, fail if kind == "plain" else fail_later)
    with pytest.raises(type(raised)) as caught:
        client.list_machines() if door == "blocking" else asyncio.run(client.list_machines_async())
    assert caught.value is raised or caught.value.args == raised.args
    assert not requests_of(emulator, "machines")
    if door == "blocking":
        assert "fail" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    failing = False
    assert len(client.list_machines()) == 3


@pytest.mark.parametrize(
    "wrong", [None, 5, b"token", object(), AccessToken, ["token"]], ids=kind_of
)
def test_a_wrong_token_type_is_a_type_error(wrong: object, emulator: Emulator) -> None:
    client = client_with(emulator, lambda: wrong)
    with pytest.raises(TypeError, match="not a token"):
        client.list_machines()
    assert not emulator.requests


@pytest.mark.parametrize("wrong", ["", "hush hush", "hush\n", "hüsh"], ids=repr)
def test_a_token_invalid_in_a_header_is_an_authentication_error(
    wrong: str, emulator: Emulator
) -> None:
    with pytest.raises(AuthenticationError) as caught:
        client_with(emulator, lambda: wrong).list_machines()
    assert "hush" not in str(caught.value)
    with pytest.raises(AuthenticationError):
        client_with(emulator, wrong).list_machines()
    assert not emulator.requests


@pytest.mark.parametrize("wrong", [5, object(), b"token", ["token"]], ids=kind_of)
def test_a_wrong_credential_type_is_refused_at_once(wrong: Any, emulator: Emulator) -> None:
    with pytest.raises(TypeError, match=f"credential takes .* not {type(wrong).__name__}"):
        client_with(emulator, wrong)


def test_a_credential_that_never_answers_can_be_cancelled(emulator: Emulator) -> None:
    over = threading.Event()

    def blocks() -> str:
        over.wait(30)
        return emulator.token

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client_with(emulator, blocks).list_machines_async(), 0.1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(
                client_with(emulator, lambda: asyncio.sleep(60)).list_machines_async(), 0.1
            )

    try:
        asyncio.run(main())
    finally:
        over.set()
    assert not emulator.requests


def test_asynchronous_credentials_share_one_loop(emulator: Emulator) -> None:
    clients = [client_with(emulator, AsyncSource(emulator.token)) for _ in range(20)]
    for client in clients:
        client.list_machines()
    wait_until(
        lambda: (
            sum(thread.name == "mde-live-response-credential" for thread in threading.enumerate())
            == 1
        ),
        "one thread for all",
    )


def test_an_unused_credential_is_released(emulator: Emulator) -> None:
    source = AsyncSource(emulator.token)
    client = client_with(emulator, source)
    client.list_machines()
    mark = weakref.ref(source)
    client.close()
    del source, client
    wait_until(lambda: gc.collect() is not None and mark() is None, "the credential's end")
