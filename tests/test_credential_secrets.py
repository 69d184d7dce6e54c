"""What a credential shows of its secret, and what of a credential is pickled."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from credential_helpers import client_with
from pki_helpers import make_self_signed

from mde_live_response import (
    AuthenticationError,
    AzureCliCredential,
    ClientCertificateCredential,
    ClientSecretCredential,
    LiveResponseError,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from mde_live_response.emulator import Emulator


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


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("issuer")
    make_self_signed(folder, "issuer")
    return folder


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
