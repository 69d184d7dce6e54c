"""The emulator from Python, over plain HTTP and with azure-identity."""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator_helpers import call, finished, result, run, script

from mde_live_response import Limits, Machine, Rate, ScriptOutput
from mde_live_response.emulator import Emulator


@pytest.fixture
def box() -> Iterator[Emulator]:
    with Emulator(speed=50) as emulator:
        yield emulator


def test_a_script_written_in_python(box: Emulator) -> None:
    seen: list[tuple[str, str | None, str]] = []

    def triage(machine_id: str, args: str | None) -> ScriptOutput:
        seen.append((machine_id, args, threading.current_thread().name))
        box.put_remote_file(machine_id, "/tmp/made", b"made by the script")
        return ScriptOutput("triage.sh", exit_code=7, stdout="out", stderr="err")

    box.on_script("triage.sh", stdout=triage)
    action = run(box, script("triage.sh", Args="-Depth 2"), ("GetFile", {"Path": "/tmp/made"}))
    assert finished(box, action["id"])["status"] == "Succeeded"
    assert json.loads(result(box, action["id"])) == {
        "script_name": "triage.sh",
        "exit_code": 7,
        "script_output": "out\0",
        "script_errors": "err",
    }
    assert [(machine, args) for machine, args, _ in seen] == [(action["machineId"], "-Depth 2")]
    assert seen[0][2] != threading.current_thread().name


def test_a_script_that_raises_fails_its_command(
    box: Emulator, capfd: pytest.CaptureFixture[str]
) -> None:
    def failing(machine_id: str, args: str | None) -> str:
        raise KeyError(machine_id, args)

    box.on_script("a.ps1", stdout=failing)
    done = finished(box, run(box, script("a.ps1"))["id"])
    assert "KeyError" in done["commands"][0]["errors"][0]
    assert "KeyError" in capfd.readouterr().err


def test_outcomes_of_a_script(box: Emulator) -> None:
    box.on_script("a.ps1", stdout=lambda *_: "out", stderr="err", exit_code=3)
    action = run(box, script("a.ps1"))
    finished(box, action["id"])
    payload = json.loads(result(box, action["id"]))
    assert (payload["exit_code"], payload["script_errors"]) == (3, "err")
    box.on_script("b.ps1", fails="no such host")
    assert finished(box, run(box, script("b.ps1"))["id"])["commands"][0]["errors"] == [
        "no such host"
    ]


def test_add_machine_returns_the_machine(box: Emulator) -> None:
    machine = box.add_machine(
        "srv.example.test", online=False, osPlatform="Linux", machineTags=["red"]
    )
    assert isinstance(machine, Machine)
    assert (machine.computer_dns_name, machine.os_platform, machine.machine_tags) == (
        "srv.example.test",
        "Linux",
        ("red",),
    )
    action = run(box, script("a.ps1"), machine="srv")
    box.advance(3600)
    assert call(box, "GET", f"/api/machineactions/{action['id']}")[1]["status"] == "Pending"
    box.set_online("srv.example.test", True)
    assert finished(box, action["id"])["status"] == "Failed"


def test_a_foreign_session(box: Emulator) -> None:
    box.add_foreign_session("ws-0001", 3600, listed=False)
    assert run(box, script("a.ps1"))["error"]["code"] == "ActiveRequestAlreadyExists"
    other = box.add_foreign_session("ws-0002", 3600, answer="foreign")
    assert run(box, script("a.ps1"), machine="ws-0002")["id"] == other
    with pytest.raises(ValueError, match="answer"):
        box.add_foreign_session("ws-0003", 1, answer="else")  # type: ignore[arg-type]


def test_files_from_the_local_disk(box: Emulator, tmp_path: Path) -> None:
    import gzip

    big = tmp_path / "big"
    big.write_bytes(os.urandom(1 << 20))
    box.put_remote_file("*", r"C:\big", big)
    action = run(box, ("GetFile", {"Path": r"c:\BIG"}))
    finished(box, action["id"])
    assert gzip.decompress(result(box, action["id"])) == big.read_bytes()
    with pytest.raises(TypeError, match="bytes or a path"):
        box.put_remote_file("*", "/x", 5)  # type: ignore[arg-type]


def test_limits_faults_log_and_violations() -> None:
    limits = Limits(read=[Rate(3, 60)], sessions=1)
    with Emulator(limits=limits, seed=7, switches={"rate_answer": "plain"}) as box:
        box.fault("GET", "/api/machines", "status", status=502, body={"a": 1}, headers={"x-y": "z"})
        assert [call(box, "GET", "/api/machines")[0] for _ in range(5)] == [502, 200, 200, 200, 429]
        assert box.violations == {
            "rate": 1, "sessions": 0, "machine_busy": 0, "bearer_at_blob": 0, "duplicate_submit": 0,
        }  # fmt: skip
        assert box.counters == {"machines": 5}
        assert [entry["status"] for entry in box.requests] == [502, 200, 200, 200, 429]
        assert not any(box.token in json.dumps(entry) for entry in box.requests)
        assert (
            call(box, "GET", "/api/libraryfiles", token=box.token_with("Machine.LiveResponse"))[0]
            == 403
        )


def test_the_same_seed_gives_the_same_emulator() -> None:
    with Emulator(seed=3) as one, Emulator(seed=3) as two, Emulator(seed=4) as other:
        ids = [call(box, "GET", "/api/machines")[1]["value"][0]["id"] for box in (one, two, other)]
        assert ids[0] == ids[1] != ids[2]
        assert (one.tenant_id, one.client_secret) == (two.tenant_id, two.client_secret)
        assert one.url != two.url


def test_another_host_than_loopback_warns() -> None:
    with pytest.warns(UserWarning, match=r"0\.0\.0\.0"), Emulator(host="0.0.0.0") as box:
        assert call(box, "GET", "/api/machines")[0] == 200


def test_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with Emulator(tls=True) as box:
        assert box.ca_bundle is not None
        assert box.env == {
            "MDE_LIVE_RESPONSE_ENDPOINT": box.url,
            "AZURE_TENANT_ID": box.tenant_id,
            "AZURE_CLIENT_ID": box.client_id,
            "AZURE_CLIENT_SECRET": box.client_secret,
            "AZURE_AUTHORITY_HOST": box.login_url,
            "REQUESTS_CA_BUNDLE": box.ca_bundle,
        }
        assert "BEGIN CERTIFICATE" in Path(box.ca_bundle).read_text()
    assert not Path(box.ca_bundle).exists()
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.test:3128")
    with Emulator() as box:
        assert box.env["NO_PROXY"].split(",")[0] == "127.0.0.1"


def test_azure_identity_gets_a_token_over_tls() -> None:
    identity = pytest.importorskip("azure.identity")
    with Emulator(tls=True) as box:
        credential = identity.ClientSecretCredential(
            box.tenant_id,
            box.client_id,
            box.client_secret,
            authority=box.login_url,
            disable_instance_discovery=True,
            connection_verify=box.ca_bundle,
        )
        token = credential.get_token("https://api.securitycenter.microsoft.com/.default")
        credential.close()
        assert 3500 < token.expires_on - time.time() < 3600
        request = urllib.request.Request(
            f"{box.url}/api/machines", headers={"Authorization": f"Bearer {token.token}"}
        )
        import ssl

        https = urllib.request.HTTPSHandler(
            context=ssl.create_default_context(cafile=box.ca_bundle)
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
        with opener.open(request, timeout=30) as response:
            assert len(json.load(response)["value"]) == 3


def certificate() -> tuple[bytes, bytes]:
    """Return a key and its self-signed certificate, as PEM."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name, now = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app")]),
        datetime.now(timezone.utc),
    )
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    )
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
    signed = builder.not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, signed.public_bytes(pem)


def test_azure_identity_signs_in_with_a_certificate() -> None:
    identity = pytest.importorskip("azure.identity")
    core = pytest.importorskip("azure.core.exceptions")
    (key, known), (other_key, other) = certificate(), certificate()
    with Emulator(tls=True) as box:
        box.add_certificate(known)
        for pem, accepted in [(key + known, True), (other_key + other, False)]:
            credential = identity.CertificateCredential(
                box.tenant_id,
                box.client_id,
                certificate_data=pem,
                authority=box.login_url,
                disable_instance_discovery=True,
                connection_verify=box.ca_bundle,
            )
            with credential:
                scope = "https://api.securitycenter.microsoft.com/.default"
                if accepted:
                    assert credential.get_token(scope).token
                    continue
                with pytest.raises(core.ClientAuthenticationError, match="AADSTS700027"):
                    credential.get_token(scope)
        with pytest.raises(ValueError, match="not PEM"):
            box.add_certificate(b"-----BEGIN NOTHING")


@pytest.mark.parametrize("name", [name for name in dir(Emulator) if not name.startswith("_")])
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert getattr(Emulator, name).__doc__
