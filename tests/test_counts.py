"""`tools/counts.py` fails when a call costs too much, and knows every case."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import counts


@pytest.mark.parametrize(
    ("found", "failed", "words"),
    [
        (1101, True, "FAILED: costs over 10% more"),
        (1099, False, ""),
        (951, False, ""),
        (949, False, "costs less: keep it with `make counts`"),
    ],
)
def test_a_count_is_held_against_the_kept_one(found: int, failed: bool, words: str) -> None:
    row = counts.Row("decode_action", 1000, found)
    assert (row.failed, row.verdict) == (failed, words)
    assert counts.check([counts.Row("encode_submit", 1000, 1000), row]) == int(failed)


def test_a_case_without_a_kept_count_fails(capsys: pytest.CaptureFixture[str]) -> None:
    kept = {"instructions": {"decode_action": 1000}}
    rows = counts.rows_of(kept, {"decode_action": 1234, "decode_list": 5_000_000})
    counts.print_table(rows)
    assert counts.check(rows[1:]) == 1
    printed = capsys.readouterr().out
    assert "+23.4%" in printed
    assert "5,000,000        -  FAILED: no count is kept" in printed
    assert "`make counts`" in printed


def test_every_case_has_a_kept_count() -> None:
    kept = json.loads(counts.KEPT.read_text(encoding="utf-8"))
    assert kept["instructions"].keys() == {*counts.CASES, counts.PYTHON_CASE}
    assert kept["tools"].keys() == {"machine", "python", "rustc", "valgrind"}


def test_other_tools_than_those_of_the_kept_counts_are_named() -> None:
    kept = {"rustc": "rustc 1.95.0", "valgrind": "valgrind-3.19.0"}
    assert counts.explain(kept, dict(kept)) == ""
    today = {**kept, "rustc": "rustc 1.99.0"}
    assert "rustc 1.95.0, now rustc 1.99.0" in counts.explain(kept, today)
