"""Every kind of credential, including those of azure-identity, against the emulator."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import pickle
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from runtime_helpers import MACHINE, requests_of, wait_until

from mde_live_response import (
    AuthenticationError,
    ClientSecretCredential,
    Command,
    InvalidRequestError,
    LiveResponseClient,
    LiveResponseError,
)
from mde_live_response._credential import get_shared_loop
from mde_live_response.emulator import Emulator

SCOPE = "https://api.securitycenter.microsoft.com/.default"


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


class InfoSource:
    """A credential with only the newer protocol of azure-identity, `get_token_info`."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token_info(self, *scopes: str, options: object = None) -> AccessToken:
        return AccessToken(self.token, int(time.time() + 3600))


def kind_of(value: object) -> str:
    """The name of a case. The address in a repr differs between processes."""
    return type(value).__name__


def client_with(emulator: Emulator, credential: Any, **options: Any) -> LiveResponseClient:
    return emulator.client(credential=credential, **options)


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


def test_a_valid_token_is_cached(emulator: Emulator) -> None:
    source = Source(emulator.token)
    client = client_with(emulator, source)
    for _ in range(5):
        client.list_machines()
    assert len(source.scopes) == 1


def test_a_token_is_renewed_before_it_expires(emulator: Emulator) -> None:
    source = Source(emulator.token, lasts=2.0)
    client = client_with(emulator, source)
    client.list_machines()
    wait_until(lambda: client.list_machines() and len(source.scopes) >= 2, "the renewal")
    source.lasts = 3600.0


def test_fifty_threads_share_one_fetch(emulator: Emulator) -> None:
    together, go = [0], threading.Event()

    def slow() -> str:
        together[0] += 1
        go.wait(20)
        return emulator.token

    client = client_with(emulator, slow)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(client.list_machines())))
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    assert found == [3] * 50
    assert together == [1]


def test_a_refused_token_is_fetched_once_more(emulator: Emulator) -> None:
    source = Source(emulator.token)
    client = client_with(emulator, source)
    emulator.fault(
        "GET",
        "machines",
        "status",
        status=401,
        body={"error": {"code": "Unauthorized", "message": "no"}},
    )
    assert len(client.list_machines()) == 3
    assert len(source.scopes) == 2
    emulator.fault("GET", "machines", "status", status=401, times=2)
    with pytest.raises(AuthenticationError):
        client.list_machines()
    assert len(source.scopes) == 3
    assert [call["status"] for call in requests_of(emulator, "machines")] == [401, 200, 401, 401]


def test_a_token_of_another_tenant_is_not_sent(emulator: Emulator) -> None:
    other = "72f988bf-86f1-41af-91ab-2d7cd011db47"
    for credential in (emulator.token, lambda: emulator.token, AsyncSource(emulator.token)):
        client = client_with(emulator, credential, tenant_id=other)
        with pytest.raises(AuthenticationError, match="no request was sent"):
            client.list_machines()
        with pytest.raises(AuthenticationError):
            client.submit(MACHINE, Command.run_script("a.ps1"), "why")
    assert not emulator.requests
    assert (
        len(
            client_with(
                emulator, emulator.token, tenant_id=emulator.tenant_id.upper()
            ).list_machines()
        )
        == 3
    )


def test_the_tenant_is_the_argument_else_that_of_the_last_token_else_the_credentials(
    emulator: Emulator,
) -> None:
    credential = ClientSecretCredential(
        "contoso.example", emulator.client_id, emulator.client_secret, authority=emulator.login_url
    )
    assert client_with(emulator, credential).tenant_id == "contoso.example"
    client = client_with(emulator, emulator.token)
    assert client.tenant_id is None
    client.list_machines()
    assert client.tenant_id == emulator.tenant_id
    other = "72f988bf-86f1-41af-91ab-2d7cd011db47"
    assert client_with(emulator, credential, tenant_id=other).tenant_id == other
    # A token names the tenant by its id, and a credential may name it by its domain.
    emulator_tenant = ClientSecretCredential(
        emulator.tenant_id.upper(),
        emulator.client_id,
        emulator.client_secret,
        authority=emulator.login_url,
    )
    client = client_with(emulator, emulator_tenant)
    assert client.tenant_id == emulator.tenant_id.upper()
    client.list_machines()
    assert client.tenant_id == emulator.tenant_id


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


def test_secrets_appear_nowhere(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    credential = ClientSecretCredential(
        emulator.tenant_id, emulator.client_id, emulator.client_secret, authority=emulator.login_url
    )
    shown: list[object] = [credential]
    for given in (emulator.token, lambda: emulator.token, credential):
        client = client_with(emulator, given)
        shown += [client, client.library, *client.list_machines(), client.check()]
        emulator.fault("GET", "machines", "status", status=401, times=2)
        with pytest.raises(AuthenticationError) as caught:
            client.list_machines()
        shown += [caught.value, pickle.dumps(caught.value), caught.value.__dict__]
    wrong = ClientSecretCredential(
        emulator.tenant_id, emulator.client_id, "hush", authority=emulator.login_url
    )
    with pytest.raises(LiveResponseError) as refused:
        client_with(emulator, wrong).list_machines()
    shown += [refused.value, refused.value.__dict__, wrong]
    text = " ".join(f"{one!r} {one!s}" for one in shown) + caplog.text
    assert "mde_live_response" in caplog.text
    for secret in (emulator.client_secret, emulator.token, emulator.token.split(".")[2], "hush"):
        assert secret not in text


@pytest.mark.parametrize(
    "way", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda way: way.__name__
)
def test_a_secret_is_not_pickled(way: Callable[[object], object], emulator: Emulator) -> None:
    credential = ClientSecretCredential(emulator.tenant_id, emulator.client_id, "hush")
    with pytest.raises(TypeError, match="not pickled") as caught:
        way(credential)
    assert "hush" not in str(caught.value)


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


@pytest.mark.parametrize(
    ("fault", "requests"), [({"kind": "garble"}, 2), ({"kind": "page"}, 1)], ids=["damaged", "page"]
)
def test_a_damaged_token_is_requested_again_and_a_page_is_not(
    fault: dict[str, Any], requests: int, emulator: Emulator
) -> None:
    emulator.fault("POST", "token", **fault)
    with emulator.client() as client:
        if requests == 2:
            assert len(client.list_machines()) == 3
        else:
            with pytest.raises(AuthenticationError, match="not JSON") as caught:
                client.list_machines()
            assert not caught.value.retryable
    assert len(requests_of(emulator, "token")) == requests


def test_a_login_host_that_times_out_may_answer_later(emulator: Emulator) -> None:
    emulator.fault("POST", "token", "status", status=408, times=10)
    with (
        emulator.client() as client,
        pytest.raises(AuthenticationError, match="answered 408") as caught,
    ):
        client.list_machines()
    assert caught.value.retryable
