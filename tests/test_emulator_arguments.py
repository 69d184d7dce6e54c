"""An invalid argument of the emulator raises a clear error at once."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator_helpers import call, finished, result, run, script

from mde_live_response import InvalidRequestError, NotFoundError, ScriptOutput
from mde_live_response.emulator import Emulator


@pytest.fixture
def box() -> Iterator[Emulator]:
    with Emulator(speed=50) as emulator:
        yield emulator


def checked_message(error: BaseException) -> str:
    message = str(error)
    assert "\n" not in message
    # Words of Rust, serde or pyo3 would mean nothing to a Python user.
    for leak in (
        "line 1",
        "column",
        "expected",
        "usize",
        "u16",
        "u64",
        "f64",
        "PyString",
        "panicked",
    ):
        assert leak not in message
    return message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"machines": -1}, "machines is -1; it must be between 0 and 1000000"),
        ({"machines": 10**30}, "it must be between 0 and 1000000"),
        ({"speed": 0}, "speed is 0; it must be above 0"),
        ({"speed": -1.0}, "speed is -1.0; it must be between 0 and 1e+06"),
        ({"speed": math.nan}, "speed is nan"),
        ({"speed": math.inf}, "speed is inf"),
        ({"seed": -1}, "seed is -1; it must be between 0 and 18446744073709551615"),
        ({"port": 65536}, "port is 65536; it must be between 0 and 65535"),
        ({"proxy": 0}, "proxy is 0; it must be between 1 and 65535"),
        ({"proxy": 65536}, "proxy is 65536; it must be between 1 and 65535"),
        ({"certificate": ("a", "b")}, "certificate has no effect without tls"),
        ({"certificate": ("a",)}, "certificate has 1 items; it must be a pair of paths"),
        ({"tls": True, "certificate": ("/nosuch", "b")}, 'certificate: "/nosuch" cannot be used: '),
        ({"tls_names": ["a"]}, "tls_names has no effect without tls or proxy"),
        ({"tls": True, "tls_names": ["https://a"]}, 'tls_names has "https://a", which is not'),
        ({"ca_folder": "a"}, "ca_folder has no effect without tls or proxy"),
        ({"proxy": True, "ca_folder": "/dev/null/x"}, "cannot be created: "),
        ({"proxy": True, "ca_folder": ""}, "ca_folder is empty"),
        (
            {"switches": {"acepted_status": 200}},
            'there is no switch "acepted_status"; valid names are accepted_status, ',
        ),
        (
            {"switches": {"accepted_status": "x"}},
            'switch accepted_status is "x"; it must be an HTTP status',
        ),
        (
            {"switches": {"windows": "round"}},
            "switch windows is \"round\"; it must be 'sliding' or 'fixed'",
        ),
        (
            {"switches": {"fresh_404": math.nan}},
            "switches fresh_404 is nan, which JSON cannot represent",
        ),
    ],
    ids=str,
)
def test_invalid_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        Emulator(**options)
    assert message in checked_message(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"machines": "3"}, "machines is '3'; it must be a whole number"),
        ({"machines": 2.5}, "machines is 2.5; it must be a whole number"),
        ({"speed": "fast"}, "speed is 'fast'; it must be a number"),
        ({"seed": None}, "seed is None; it must be a whole number"),
        ({"port": True}, "port is True; it must be a whole number"),
        ({"tls": 1}, "tls is 1; it must be True or False"),
        ({"proxy": "8898"}, "proxy is '8898'; it must be a whole number"),
        ({"proxy": None}, "proxy is None; it must be a whole number"),
        ({"tls_names": "a"}, "tls_names takes names of hosts, not str"),
        ({"tls_names": [1]}, "tls_names takes names of hosts, not a list of int"),
        ({"certificate": "a"}, "certificate takes a pair of paths"),
        ({"certificate": (1, 2)}, "certificate takes a path, not int"),
        ({"ca_folder": 1}, "ca_folder takes a path, not int"),
        ({"host": 5}, "host is 5; it must be a str"),
        ({"limits": {"submit": []}}, "it must be a Limits"),
        ({"switches": ["windows"]}, "switches is ['windows']; it must be a mapping"),
        ({"switches": {1: 2}}, "a name in switches is 1; it must be a str"),
        ({"switches": {"windows": {1}}}, "switches windows is {1}, which JSON cannot represent"),
    ],
    ids=str,
)
def test_settings_of_the_wrong_type(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as raised:
        Emulator(**options)
    assert message in checked_message(raised.value)


INVALID_CALLS: list[tuple[Callable[[Any], Any], str]] = [
    (
        lambda box: box.add_machine("a", nosuch=1),
        'a machine has no property "nosuch"; it has id, mergedIntoMachineId, ',
    ),
    (
        lambda box: box.add_machine("a", osBuild="x"),
        'machine property osBuild is "x"; it must be a whole number or null',
    ),
    (
        lambda box: box.add_machine("a", machineTags="red"),
        'machine property machineTags is "red"; it must be a list',
    ),
    (
        lambda box: box.add_machine("a", id="xyz"),
        'machine property id is "xyz"; it must be 40 hexadecimal digits',
    ),
    (
        lambda box: box.add_machine("a", id=5),
        "machine property id is 5; it must be 40 hexadecimal digits",
    ),
    (
        lambda box: box.add_machine("a", lastSeen="soon"),
        'machine property lastSeen is "soon"; it must be a time such as',
    ),
    (lambda box: box.add_machine("a", computerDnsName="b"), "it is the machine's name"),
    (lambda box: box.add_machine(""), "a machine needs a name"),
    (
        lambda box: box.add_machine("a", start_delay=-1),
        "start_delay is -1; it must be between 0 and 1e+09",
    ),
    (
        lambda box: box.on_script("x y"),
        "\"x y\" is not a valid name of a library file; use letters, digits, '-', '_'",
    ),
    (lambda box: box.on_script(""), "is not a valid name of a library file"),
    (lambda box: box.add_library_file("a/b"), '"a/b" is not a valid name of a library file'),
    (
        lambda box: box.on_script("a", duration=-1),
        "duration is -1; it must be between 0 and 1e+09",
    ),
    (
        lambda box: box.on_script("a", exit_code=2**40),
        "exit_code is 1099511627776; it must be between",
    ),
    (lambda box: box.advance(-1), "seconds is -1; it must be between 0 and 1e+09"),
    (lambda box: box.advance(math.nan), "seconds is nan; it must be between 0 and 1e+09"),
    (lambda box: box.advance(1e300), "seconds is 1e+300; it must be between 0 and 1e+09"),
    (lambda box: box.add_foreign_session("ws-0001", -1), "seconds is -1; it must be between 0"),
    (
        lambda box: box.add_foreign_session("ws-0001", 1, answer="x"),
        "answer is \"x\"; it must be 'error' or 'foreign'",
    ),
    (
        lambda box: box.fault("GET", "/x", "status", colour="red"),
        'there is no fault detail "colour"; valid names are acts, ',
    ),
    (
        lambda box: box.fault("GET", "/x", "explode"),
        "fault detail kind is \"explode\"; it must be one of 'status', ",
    ),
    (lambda box: box.fault("GET", "/x", "garble", nth=0), "nth is 0; it must be between 1"),
    (lambda box: box.fault("GET", "/x", "garble", nth=-1), "nth is -1; it must be between 1"),
    (lambda box: box.fault("GET", "/x", "garble", times=0), "times is 0; it must be between 1"),
    (
        lambda box: box.fault("GET", "/x", "status", status=99),
        "fault detail status is 99; it must be an HTTP status",
    ),
    (
        lambda box: box.fault("GET", "/x", "delay", seconds=-1),
        "fault detail seconds is -1; it must be a number",
    ),
    (
        lambda box: box.fault("GET", "/x", "drop_after", status=500),
        'a fault of kind drop_after has no detail "status"',
    ),
    (
        lambda box: box.fault("POST", "runliverespons", "drop_after"),
        'there is no route "runliverespons"',
    ),
    (lambda box: box.add_certificate(b"-----BEGIN NOTHING"), "the certificate is not PEM"),
]


@pytest.mark.parametrize(
    ("act", "message"), INVALID_CALLS, ids=[message for _, message in INVALID_CALLS]
)
def test_an_invalid_value_is_an_error(
    act: Callable[[Any], Any], message: str, box: Emulator
) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        act(box)
    assert message in checked_message(raised.value)
    assert len(call(box, "GET", "/api/machines")[1]["value"]) == 3, "nothing was added"


CALLS_WITH_WRONG_TYPES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda box: box.add_machine(5), "name is 5; it must be a str"),
    (lambda box: box.add_machine("a", online="no"), "online is 'no'; it must be True or False"),
    (
        lambda box: box.add_machine("a", vmMetadata={1}),
        "properties vmMetadata is {1}, which JSON cannot represent",
    ),
    (lambda box: box.advance("1"), "seconds is '1'; it must be a number"),
    (lambda box: box.on_script("a", stdout=5), "stdout is 5; it must be a str"),
    (
        lambda box: box.on_script("a", exit_code="0"),
        "exit_code is '0'; it must be a whole number",
    ),
    (lambda box: box.token_with(5), "role is 5; it must be a str"),
    (lambda box: box.put_remote_file("*", "/x", 5), "bytes or a path"),
    (
        lambda box: box.fault("GET", "/x", "garble", nth=1.5),
        "nth is 1.5; it must be a whole number",
    ),
]


@pytest.mark.parametrize(
    ("act", "message"),
    CALLS_WITH_WRONG_TYPES,
    ids=[message for _, message in CALLS_WITH_WRONG_TYPES],
)
def test_a_wrong_type_is_an_error(act: Callable[[Any], Any], message: str, box: Emulator) -> None:
    with pytest.raises(TypeError) as raised:
        act(box)
    assert message in checked_message(raised.value)


def test_unknown_machines(box: Emulator) -> None:
    for act in (
        lambda: box.set_online("unknown", True),
        lambda: box.set_stuck("unknown", True),
        lambda: box.add_foreign_session("unknown", 1),
        lambda: box.put_remote_file("unknown", "/x", b"x"),
    ):
        with pytest.raises(
            NotFoundError, match=r"no machine \"unknown\"; it has ws-0001\.example\.test, "
        ):
            act()


def test_an_id_can_be_chosen_once(box: Emulator) -> None:
    machine_id = "ab" * 20
    assert box.add_machine("a", id=machine_id).id == machine_id
    with pytest.raises(InvalidRequestError, match="already"):
        box.add_machine("b", id=machine_id.upper())


def test_faults_by_path_and_by_route(box: Emulator) -> None:
    box.fault("POST", "runliveresponse", "delay", seconds=0)
    box.fault("GET", "/api/machineactions/*", "delay", seconds=0)
    box.fault("POST", "runliveresponse", "status", nth=2, status=503, acts=True)
    assert run(box, script("a.ps1"))["status"] == "Pending"


def test_a_missing_local_file_is_an_error_at_once(box: Emulator, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        box.put_remote_file("*", r"C:\s", tmp_path / "missing")


@pytest.mark.parametrize("from_callable", [False, True])
def test_no_exit_code_is_none(from_callable: bool, box: Emulator) -> None:
    if from_callable:
        box.on_script("a.sh", stdout=lambda *_: ScriptOutput("a.sh", exit_code=None, stdout="out"))
    else:
        box.on_script("a.sh", stdout="out", exit_code=None)
    action = run(box, script("a.sh"))
    assert finished(box, action["id"])["status"] == "Succeeded"
    assert json.loads(result(box, action["id"])) == {
        "script_name": "a.sh", "script_output": "out\0", "script_errors": "",
    }  # fmt: skip
    with box.client() as client:
        assert client.session(action["id"]).result().scripts[0].exit_code is None


def test_repr_shows_no_secret() -> None:
    with Emulator(machines=2, speed=60) as box:
        box.add_machine("another.example.test")
        assert repr(box) == f"<Emulator at {box.url}, 3 machines, speed 60>"
        assert box.client_secret not in repr(box)
    assert repr(box) == f"<Emulator at {box.url}, closed>"
