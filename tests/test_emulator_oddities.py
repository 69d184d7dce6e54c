"""What the emulator does that the service should not: odd records, pages, changed comments."""

import http.client
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from emulator_helpers import call

from mde_live_response import InvalidRequestError, NotFoundError
from mde_live_response.emulator import Emulator


@pytest.fixture
def box() -> Iterator[Emulator]:
    with Emulator(speed=50, seed=7) as emulator:
        yield emulator


def submit(box: Emulator, comment: str = "why") -> tuple[int, Any]:
    machine = call(box, "GET", "/api/machines/ws-0001")[1]["id"]
    command = {"type": "RunScript", "params": [{"key": "ScriptName", "value": "a.ps1"}]}
    body = {"Commands": [command], "Comment": comment}
    return call(box, "POST", f"/api/machines/{machine}/runliveresponse", body)


def raw(box: Emulator, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(urlsplit(box.url).netloc, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {box.token}"})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_any_value_of_a_property(box: Emulator) -> None:
    action = submit(box)[1]["id"]
    for name, value in [("status", 5), ("commands", None), ("errorHResult", "0"), ("id", ...)]:
        box.set_property(action, name, value)
    shown = call(box, "GET", f"/api/machineactions/{action}")[1]
    assert (shown["status"], shown["commands"], shown["errorHResult"]) == (5, None, "0")
    assert "id" not in shown
    box.set_property("ws-0001", "rbacGroupId", "12")
    assert call(box, "GET", "/api/machines/ws-0001")[1]["rbacGroupId"] == "12"
    assert call(box, "GET", "/api/machines/ws-0002")[1]["rbacGroupId"] == 0
    box.set_property("machines", "osBuild", [1])
    assert call(box, "GET", "/api/machines/ws-0002")[1]["osBuild"] == [1]


def test_invalid_properties(box: Emulator) -> None:
    with pytest.raises(NotFoundError, match='no action, machine or library file "nobody"'):
        box.set_property("nobody", "status", 1)
    with pytest.raises(TypeError, match="JSON cannot represent"):
        box.set_property("machines", "status", {1})
    with pytest.raises(InvalidRequestError, match="JSON cannot represent"):
        box.set_property("machines", "status", float("nan"))
    with pytest.raises(TypeError, match="name is 5; it must be a str"):
        box.set_property("machines", 5, 1)  # type: ignore[arg-type]


def test_pages(box: Emulator) -> None:
    box.fault("GET", "machines", "page")
    status, headers, body = raw(box, "/api/machines")
    assert (status, headers["Content-Type"]) == (200, "text/html")
    assert b"Sign in" in body
    box.fault("GET", "machines", "page", body=b"\x1f\x8b\x08\x00", content_type="application/gzip")
    status, headers, body = raw(box, "/api/machines")
    assert (status, headers["Content-Type"], body) == (200, "application/gzip", b"\x1f\x8b\x08\x00")
    box.fault("GET", "machines", "page", body="", status=204)
    assert raw(box, "/api/machines")[0] == 204
    with pytest.raises(InvalidRequestError, match='a fault of kind page has no detail "seconds"'):
        box.fault("GET", "machines", "page", seconds=1)


def test_a_refusal_of_what_was_done(box: Emulator) -> None:
    code = "ActiveRequestAlreadyExists"
    box.fault("POST", "runliveresponse", "status", status=400, code=code, acts=True)
    status, body = submit(box)
    assert (status, body["error"]["code"]) == (400, code)
    (action,) = call(box, "GET", "/api/machineactions")[1]["value"]
    box.fault("GET", "machineaction", "wrong_entity")
    other = call(box, "GET", f"/api/machineactions/{action['id']}")[1]
    assert other["id"] != action["id"]
    box.advance(3600)
    assert submit(box, "other words")[0] == 201
    assert box.violations["duplicate_submit"] == 1


def test_the_date_is_the_emulators(box: Emulator) -> None:
    box.advance(86_400 * 300)
    year = int(raw(box, "/api/machines")[1]["Date"].split()[3])
    submitted = int(submit(box)[1]["creationDateTimeUtc"][:4])
    assert year == submitted
    with Emulator(switches={"date_header": False}) as dateless:
        assert raw(dateless, "/api/machines")[1]["Date"] is None


def test_a_changed_comment() -> None:
    switches = {"comment_form": "upper", "comment_limit": 3, "comment_suffix": "..."}
    with Emulator(switches=switches) as box:
        assert submit(box, "why not")[1]["requestorComment"] == "WHY..."
    with pytest.raises(InvalidRequestError, match="'keep', 'escape', 'percent'"):
        Emulator(switches={"comment_form": "x"})


def test_a_merged_machine() -> None:
    with Emulator(switches={"merged_machine": "refused"}) as box:
        into = call(box, "GET", "/api/machines/ws-0001")[1]["id"]
        merged = box.add_machine("old.example.test", mergedIntoMachineId=into)
        assert call(box, "GET", f"/api/machines/{merged.id}")[0] == 404
