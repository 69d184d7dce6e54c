"""The notebooks of the examples: each says what it does, and runs in a new kernel."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

from notebook_code import find_notebooks, notebook_code, read_cells, source_of

NOTEBOOKS = {path.stem: path for path in find_notebooks()}
# What each notebook shows, in this order, as text or as the HTML of a page.
SHOWN = {
    "one_machine": [
        "health",
        "ws-0001.example.test",
        "nothing would prevent a session",
        "triage.ps1",
        "exit code 0",
        'class="dataframe"',
        "SHA-256",
        "False script",
        "stderr",
        "NotFoundError",
    ],
    "many_machines": [
        "50 machines",
        "nobody | machine | no machine is named",
        "47 ok",
        "<svg",
        "the disk is full",
        'class="dataframe"',
        "Updater",
    ],
    "evidence": [
        "5 ok",
        "saved_time",
        '"previous": "0000',
        "nothing wrong",
        "was changed",
        "'notes.txt' is not in the manifest",
        "the last line does not have the given hash",
        "case-42.zip",
    ],
}
RUN = """
import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], 4)
resources = {"metadata": {"path": sys.argv[3]}}
nbclient.NotebookClient(
    notebook, timeout=120, kernel_name="python3", resources=resources
).execute()
nbformat.write(notebook, sys.argv[2])
"""


def run_notebook(notebook: Path, folder: Path) -> list[dict[str, Any]]:
    """Run a notebook in a new kernel, in this folder, and return what its cells show."""
    executed = folder / "executed.ipynb"
    command = [sys.executable, "-c", RUN, str(notebook), str(executed), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return [output for cell in read_cells(executed) for output in cell.get("outputs", [])]


def text_of(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return "".join(output["text"])
    return "".join(output["data"].get("text/html", output["data"].get("text/plain", "")))


def test_every_notebook_is_expected_to_show_something() -> None:
    assert set(NOTEBOOKS) == set(SHOWN)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_runs(name: str, tmp_path: Path) -> None:
    outputs = run_notebook(NOTEBOOKS[name], tmp_path)
    assert {output["output_type"] for output in outputs} <= {
        "stream",
        "execute_result",
        "display_data",
    }
    assert not [text_of(output) for output in outputs if output.get("name") == "stderr"]
    shown = "\n".join(map(text_of, outputs)).replace("\N{NO-BREAK SPACE}", " ")
    shown = shown.replace("&nbsp;", " ")
    at = 0
    for words in SHOWN[name]:
        assert words in shown[at:], f"{words} comes next"
        at = shown.index(words, at)
    bars = [o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert len(bars) == (name == "many_machines"), "the bar is a widget"
    left = {path.name for path in tmp_path.iterdir()} - {"executed.ipynb"}
    assert not left, "a notebook writes only to temporary folders"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stored_without_outputs(name: str) -> None:
    for cell in read_cells(NOTEBOOKS[name]):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_words_stand_before_each_cell_of_code(name: str) -> None:
    kinds = [cell["cell_type"] for cell in read_cells(NOTEBOOKS[name])]
    assert kinds[0] == "markdown"
    assert ("code", "code") not in set(itertools.pairwise(kinds))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_code_for_the_type_checkers_is_whole(name: str) -> None:
    checked = ast.parse(notebook_code(NOTEBOOKS[name]))
    cells = [c for c in read_cells(NOTEBOOKS[name]) if c["cell_type"] == "code"]
    statements = [node for cell in cells for node in ast.parse(source_of(cell)).body]
    assert len(checked.body) == len(statements)
    loose = [node for node in checked.body if isinstance(node, ast.Expr)]
    assert all(isinstance(node.value, ast.Call) for node in loose)


def test_a_shown_value_gets_a_name(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Words"]},
        {"cell_type": "code", "source": ["x = [\n", "    1,\n", "]\n", "x[\n", "    0\n", "]"]},
        {"cell_type": "code", "source": ["print(1)"]},
        {"cell_type": "code", "source": []},
    ]
    notebook = tmp_path / "a.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    code = notebook_code(notebook)
    assert "x = [\n    1,\n]\nshown_1 = x[\n    0\n]\n" in code
    assert "\nprint(1)\n" in code
    compile(code, "a.py", "exec")
