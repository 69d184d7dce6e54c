"""How long a token is kept, when it is asked for again, and which tenant it must be of."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from credential_helpers import AsyncSource, Source, client_with
from runtime_helpers import MACHINE, requests_of, wait_until

from mde_live_response import AuthenticationError, ClientSecretCredential, Command
from mde_live_response.emulator import Emulator


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
