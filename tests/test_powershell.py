"""PowerShell text is checked for its syntax. It is not run: there is no PowerShell here."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mde_live_response import Command

pytest.importorskip("tree_sitter", reason="tree-sitter has no wheel for this Python")

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "examples").rglob("*.ps1"))
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```powershell\n(.*?)^```", re.DOTALL | re.MULTILINE)
PARSER = Parser(Language(tree_sitter_powershell.language()))
# Each of these would end a literal string, a command or a word, or start an expression.
HARD_ARGUMENTS = [
    "it's",
    "a\u2018b\u2019c\u201ad\u201be",
    "x; Remove-Item y",
    "$(Get-Date) $env:PATH `n @(1) @{a=1}",
    '"quoted"',
    "a | b & c > d < e",
    "",
    " ",
    "'",
    "''",
    "# no comment",
    "line\nline",
    "{ block }",
    "C:\\Program Files\\x",
    "h\u00e4\u00df\u4f60",
]


def nodes(node: Node) -> Iterator[Node]:
    """Yield the node and all nodes below it."""
    yield node
    for child in node.children:
        yield from nodes(child)


def parse(code: str) -> Node:
    """Return the syntax tree of code. Fail if a part of it is no PowerShell."""
    root = PARSER.parse(code.encode()).root_node
    wrong = [node for node in nodes(root) if node.is_error or node.is_missing]
    assert not wrong, [(node.start_point, node.type, node.text) for node in wrong]
    return root


def read_literal(node: Node) -> str:
    """Return the value of a literal string. A quotation mark in it is doubled."""
    assert node.text is not None
    text = node.text.decode()
    assert re.fullmatch("'.*'", text, re.DOTALL), text
    return re.sub("(['\u2018\u2019\u201a\u201b])\\1", r"\1", text[1:-1])


def test_the_check_finds_wrong_syntax() -> None:
    """An unclosed string, block or subexpression is found."""
    for wrong in ["'it's'", "if ($true) { 1", "$(Get-Date", "param([string]$a"]:
        with pytest.raises(AssertionError):
            parse(wrong)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_scripts_of_the_examples_are_powershell(script: Path) -> None:
    """Each script of the examples has correct syntax."""
    assert any(node.type == "pipeline" for node in nodes(parse(script.read_text())))


def test_the_documentation_has_powershell() -> None:
    """Each block of PowerShell in the documentation has correct syntax."""
    blocks = [block for page in PAGES for block in BLOCK.findall(page.read_text())]
    assert blocks
    for block in blocks:
        parse(block)


def sent_arguments(args: list[str]) -> list[Node]:
    """Return the arguments of a script as PowerShell separates them."""
    command = Command.run_script("triage.ps1", args).to_dict()
    params = {param["key"]: param["value"] for param in command["params"]}
    root = parse(f"& .\\triage.ps1 {params['Args']}")
    commands = [node for node in nodes(root) if node.type == "command"]
    assert len(commands) == 1, root
    elements = next(node for node in commands[0].children if node.type == "command_elements")
    return [node for node in elements.children if node.type != "command_argument_sep"]


@pytest.mark.parametrize("argument", HARD_ARGUMENTS)
def test_an_argument_stays_one_literal(argument: str) -> None:
    """Whatever an argument holds, PowerShell reads it as one literal string with its value."""
    first, middle, last = sent_arguments(["first", argument, "last"])
    assert (first.text, last.text) == (b"first", b"last")
    assert read_literal(middle) == argument
    assert not any(node.type in ("variable", "sub_expression") for node in nodes(middle))


def test_a_named_argument_keeps_its_value() -> None:
    """The value of `-Name:value` is one literal string, even if it begins with a dash."""
    name, value, switch = sent_arguments(["-Name:-it's; x", "-Force"])
    assert (name.text, switch.text) == (b"-Name", b"-Force")
    assert read_literal(value) == "-it's; x"
