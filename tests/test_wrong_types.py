"""Each argument of each public call refuses each wrong type, by name and before any request.

The calls and what their arguments take come from the stub and from the annotations, so a new
argument is tested too.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import mde_live_response as mde
from mde_live_response import display, evidence
from mde_live_response.emulator import Emulator

PACKAGE = Path(mde.__file__).parent
ACTION_ID = "72f988bf-86f1-41af-91ab-2d7cd011db47"

WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "object": object,
    "int": lambda: 7,
    "float": lambda: 1.5,
    "str": lambda: "text",
    "bytes": lambda: b"x",
    "dict": lambda: {"k": 1},
    "list": lambda: [object()],
    "class": lambda: int,
}
"""One value of each kind. The list and the dict have an item that no argument takes."""

TAKEN: dict[str, set[str]] = {
    "str": {"str"},
    "int": {"int"},
    "float": {"int", "float"},
    "bool": set(),
    "bytes": {"bytes"},
    "None": {"None"},
    "Any": set(WRONG),
    "object": set(WRONG),
    # An iterable of names: the keys of the dict.
    "Iterable": {"dict"},
    "Sequence": set(),
    "tuple": {"list"},
    "Mapping": set(),
    # A class can be called.
    "Callable": {"class"},
    # Every call that takes a PathLike takes a str.
    "PathLike": {"str"},
    "BinaryIO": set(),
    "SupportsGetToken": set(),
    "timedelta": set(),
    "datetime": set(),
    **{name: set() for name in mde.__all__ if isinstance(getattr(mde, name), type)},
}
"""The kinds that each word of an annotation accepts."""

SAMPLES: dict[str, Any] = {
    "commands": mde.Command.run_script("a.ps1"),
    "machines": [],
    "wire": {},
    "older_than": 1,
    "per": 1,
    "count": 1,
    "seconds": 1,
    "online": True,
    "stuck": True,
    "command": 0,
    "content": b"x",
    "answer": "error",
    "kind": "garble",
    "path": "/x",
    "machine": "ws-0001",
    "items": [],
}
"""Valid values of required arguments. Any other is a str."""

RESULTS = {"Verification", "Packed", "Table"}
"""Classes of results, which users do not make."""
OF_TUPLES = {"FleetReport.index", "FleetReport.count"}
"""Methods of a sequence, whose errors are those of a tuple."""


class Call(NamedTuple):
    owner: str
    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}"


def parsed(path: str) -> ast.Module:
    return ast.parse((PACKAGE / path).read_text(encoding="utf-8"))


def functions(body: list[ast.stmt], owner: str) -> Iterator[Call]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_property = any(ast.unparse(mark) == "property" for mark in node.decorator_list)
            if node.name in ("__new__", "__init__") or not (
                is_property or node.name.startswith("_")
            ):
                call = Call(owner, node.name, node)
                if str(call) not in OF_TUPLES:
                    yield call
        elif isinstance(node, ast.ClassDef) and node.name not in RESULTS:
            yield from functions(node.body, node.name)


CALLS = [
    *functions(parsed("__init__.pyi").body, "mde"),
    *functions(parsed("emulator.py").body, "emulator"),
    *functions(parsed("_emulator_fixtures.py").body, "emulator"),
    *functions(parsed("evidence.py").body, "evidence"),
    *functions(parsed("display/tables.py").body, "display"),
]
ALIASES = {
    node.target.id: node.value
    for path in ("_types.py", "_emulator_fixtures.py")
    for node in parsed(path).body
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
}


def taken_kinds(annotation: ast.expr) -> set[str]:
    """Return the kinds of WRONG that an annotation accepts."""
    if isinstance(annotation, ast.BinOp):
        return taken_kinds(annotation.left) | taken_kinds(annotation.right)
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return {"None"}
    if isinstance(annotation, ast.Subscript):
        word = ast.unparse(annotation.value)
        if word == "Literal":
            literal = ast.literal_eval(annotation.slice)
            values = literal if isinstance(literal, tuple) else (literal,)
            return {"str"} if any(isinstance(value, str) for value in values) else set()
        if word == "Iterable" and ast.unparse(annotation.slice) == "object":
            return {"dict", "list"}
        if word == "Mapping" and "Any" in ast.unparse(annotation.slice):
            return {"dict"}
        return TAKEN[word]
    word = ast.unparse(annotation)
    return taken_kinds(ALIASES[word]) if word in ALIASES else TAKEN[word]


class Case(NamedTuple):
    call: Call
    argument: str
    annotation: ast.expr
    variadic: bool

    def __str__(self) -> str:
        return f"{self.call}({self.argument})"


def cases() -> Iterator[Case]:
    for call in CALLS:
        arguments = call.node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if argument.arg not in ("self", "cls") and argument.annotation:
                yield Case(call, argument.arg, argument.annotation, False)
        if arguments.vararg and arguments.vararg.annotation:
            yield Case(call, arguments.vararg.arg, arguments.vararg.annotation, True)


CASES = [case for case in cases() if set(WRONG) - taken_kinds(case.annotation)]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(speed=50) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def receivers(emulator: Emulator) -> Iterator[dict[str, Any]]:
    """The object that has the methods of each class."""
    with emulator.client() as client:
        emulator.on_script("a.ps1", stdout="done")
        fleet = client.run_many(["ws-0001"], mde.Command.run_script("a.ps1"), "why")
        yield {
            "LiveResponseClient": client,
            "Library": client.library,
            "Profile": client.probe(),
            "Session": client.session(ACTION_ID),
            "FleetReport": fleet.report(),
            "Fleet": fleet,
            "Emulator": emulator,
            "EmulatorFixtures": emulator,
            "AzureCliCredential": mde.AzureCliCredential(),
            "evidence": evidence,
            "display": display,
        }


def call_with(case: Case, receivers: dict[str, Any], value: object) -> object:
    """Make the call with a value, and with valid values for the other required arguments."""
    call, arguments = case.call, case.call.node.args
    owner = receivers.get(call.owner) or getattr(mde, call.owner)
    if call.name in ("__new__", "__init__"):
        function: Any = owner if isinstance(owner, type) else type(owner)
    else:
        function = getattr(owner, call.name)
    if case.variadic:
        return function(value)
    plain = [*arguments.posonlyargs, *arguments.args]
    required = plain[: len(plain) - len(arguments.defaults)] + [
        argument
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    ]
    names = [argument.arg for argument in required if argument.arg not in ("self", "cls")]
    given = {name: SAMPLES.get(name, "text") for name in names}
    return function(**{**given, case.argument: value})


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_wrong_type_is_named(case: Case, emulator: Emulator, receivers: dict[str, Any]) -> None:
    before = len(emulator.requests)
    for kind in sorted(set(WRONG) - taken_kinds(case.annotation)):
        value = WRONG[kind]()
        with pytest.raises(TypeError) as caught:
            call_with(case, receivers, value)
        message = str(caught.value)
        # Of several values, one is wrong.
        names = (
            {case.argument, case.argument.removesuffix("s")} if case.variadic else {case.argument}
        )
        word, verb = message.split()[:2]
        assert word in names, (kind, message)
        assert verb in ("takes", "is"), (kind, message)
        # What came, by its type, or by its value where no value is secret.
        came = "class int" if kind == "class" else type(value).__name__
        assert any(word in message for word in ("None" if value is None else came, repr(value)))
        for foreign in ("PyString", "instance of", "cannot be", "NoneType", "expected", "\n"):
            assert foreign not in message, (kind, message)
    assert len(emulator.requests) == before


def test_every_kind_of_call_is_tested() -> None:
    names = {str(case) for case in CASES}
    assert len(names) > 150
    assert names >= {
        "LiveResponseClient.run(machine)",
        "LiveResponseClient.run_async(machine)",
        "LiveResponseClient.__new__(proxy)",
        "Library.sync_async(folder)",
        "Command.run_inline(shell)",
        "Limits.__new__(submit)",
        "Emulator.__init__(seed)",
        "EmulatorFixtures.fault(path)",
        "Emulator.token_with(roles)",
        "evidence.pack(to)",
        "display.table(columns)",
    }
