"""Write the code of the example notebooks as Python files, so that type checkers can read it.

`python tools/notebook_code.py FOLDER` writes one file for each notebook of `examples/`. A cell may
end with a value, which a notebook shows. A checker would call it unused, so it gets a name.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def find_notebooks() -> list[Path]:
    """Return the notebooks of the examples."""
    return sorted(EXAMPLES.glob("*.ipynb"))


def read_cells(notebook: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook."""
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return cells


def source_of(cell: dict[str, Any]) -> str:
    """Return the text of a cell."""
    return "".join(cell["source"])


def name_shown_value(code: str, number: int) -> str:
    """Return the code of a cell, with a name for the value that the notebook shows."""
    body = ast.parse(code).body
    last = body[-1] if body else None
    if not isinstance(last, ast.Expr) or isinstance(last.value, ast.Call):
        return code
    lines = code.splitlines()
    lines[last.lineno - 1] = f"shown_{number} = {lines[last.lineno - 1]}"
    return "\n".join(lines)


def notebook_code(notebook: Path) -> str:
    """Return the code of a notebook as the text of a Python file."""
    cells = [
        f"# Cell {number}\n{name_shown_value(source_of(cell), number)}\n"
        for number, cell in enumerate(read_cells(notebook))
        if cell["cell_type"] == "code"
    ]
    return "\n".join(cells)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.py"):
        old.unlink()
    for notebook in find_notebooks():
        path = folder / f"{notebook.stem}_notebook.py"
        path.write_text(notebook_code(notebook), encoding="utf-8")


if __name__ == "__main__":
    main()
