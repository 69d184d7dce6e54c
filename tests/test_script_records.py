"""`ScriptOutput`: text without PowerShell's own line, JSON after noise, records."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from mde_live_response import ScriptOutput

LINE = "Transcript started, output file is C:\\ProgramData\\x.txt\r\n"


def output(stdout: str, stderr: str = "") -> ScriptOutput:
    return ScriptOutput("a.ps1", stdout=stdout, stderr=stderr)


def test_text_is_what_the_script_printed() -> None:
    made = output(LINE + "\x1b[31mred\x1b[0m\n", "\x1b[1moh\x1b[0m")
    assert (made.text, made.stderr_text) == ("red\n", "oh")
    assert made.stdout.startswith("Transcript started")


@pytest.mark.parametrize("noise", ["", LINE, LINE + "WARNING: slow\n[INFO] x\n", "loading 7\n"])
@pytest.mark.parametrize("value", [{"a": [1, {"b": None}]}, [1, 2], "text", 7, True])
@pytest.mark.parametrize("indent", [None, 2])
def test_json_passes_over_noise(noise: str, value: Any, indent: int | None) -> None:
    assert output(noise + json.dumps(value, indent=indent) + "\n").json() == value


@pytest.mark.parametrize("stdout", ["", "nothing here", '{"a": 1}\n{"a": 2}', '{"a": 1}\ndone'])
def test_what_is_not_one_value(stdout: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|Extra data"):
        output(stdout).json()


ROWS = [{"name": "svc, one", "pid": "7"}, {"name": 'M\u00fcller "x"\ntwo', "pid": ""}]


def as_csv() -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["name", "pid"])
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue()


@pytest.mark.parametrize("noise", ["", LINE])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=4) + "\r\n",
        "\n".join(json.dumps(row) for row in ROWS),
        "\n\n".join(json.dumps(row, indent=2) for row in ROWS),
        "WARNING: slow\n" + "\n".join(json.dumps(row) for row in ROWS),
        as_csv(),
        "#TYPE System.Diagnostics.Process\r\n" + as_csv(),
    ],
)
def test_records(noise: str, text: str) -> None:
    assert output(noise + text).records() == tuple(ROWS)


def test_a_script_that_prints_nothing_has_no_records() -> None:
    assert output(LINE).records() == ()
    assert output("[]").records() == ()


@pytest.mark.parametrize(
    "text",
    [
        "done",
        "Error, not found",
        "[1, 2]",
        '{"a": 1}\nrest',
        "a,b\n1",
        "a,a\n1,2",
        '"a","b\n',
        "one\ntwo",
    ],
)
def test_what_is_no_table(text: str) -> None:
    with pytest.raises(ValueError, match=r"the output is|Expecting|Extra data"):
        output(text).records()


def test_long_output_is_read() -> None:
    """A search that starts again at each line would take hours."""
    lines = "".join(f'{{"n": {at}}}\n' for at in range(100_000))
    assert len(output(lines).records()) == 100_000
    broken = output('{"broken": \n' * 20_000)
    for read in (broken.json, broken.records):
        with pytest.raises(ValueError, match=r"Expecting|nested"):
            read()


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_line_ends_end_a_row(character: str) -> None:
    text = f"path,size\r\nC:\\a,1{character}C:\\forged,9\r\nC:\\b,2"
    with pytest.raises(ValueError, match="a row has 3"):
        output(text).records()
    name = f"C:\\a{character}b"
    assert output(f"path,size\n{name},1").records() == ({"path": name, "size": "1"},)


def test_one_column_in_quotation_marks_is_a_table() -> None:
    """`Select-Object Name | ConvertTo-Csv` has one column, and quotation marks."""
    for lines in (['"Name"', '"a"', '"b"'], ["#TYPE x", '"Name"', '"a"', '"b"']):
        output = ScriptOutput("a.ps1", stdout="\n".join(lines))
        assert output.records() == ({"Name": "a"}, {"Name": "b"})
    with pytest.raises(ValueError, match="CSV with a header"):
        ScriptOutput("a.ps1", stdout="Done\nall good").records()
