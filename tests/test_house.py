"""The counters of `tools/house.py` find what they count, and the sources keep their goals."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import house
from rust_imports import imports
from sources import Source, split_python, split_rust


def source(path: str, text: str) -> Source:
    made = Source(path, text)
    {"rs": split_rust, "py": split_python}[path.rpartition(".")[2]](made)
    return made


@pytest.mark.parametrize("row", house.measure(), ids=lambda row: row.name)
def test_the_goal_is_met(row: house.Measure) -> None:
    assert row.met, [row.figure, *row.details[:20]]


def test_an_unusual_word_is_counted_in_comments_only() -> None:
    comment = "/// " + "plain words " * 60 + "a caller whom nobody told.\n"
    (row,) = house.unusual_words([source("src/a/b.rs", comment + 'let told = "whom";\n')])
    assert not row.met
    assert [detail.rpartition(" ")[2] for detail in row.details] == ["whom", "told"]


def test_a_circle_between_files_is_found_and_one_with_a_parent_is_not() -> None:
    files = {
        "src/a/mod.rs": "use crate::a::one::One;\n",
        "src/a/one.rs": "use super::two::Two;\nuse super::A;\n",
        "src/a/two.rs": "use super::{one::{One, Other}, A};\n",
    }
    (row,) = house.circles([source(path, text) for path, text in files.items()])
    assert row.details == ["src/a/one.rs <-> src/a/two.rs"]


def test_an_import_of_a_higher_layer_is_found() -> None:
    layers = house.map_of("```text\npython\nfleet\nsession, check\nerror\n```\n")
    assert layers == [{"python"}, {"fleet"}, {"session", "check"}, {"error"}]
    arrows = imports(
        [source("src/error.rs", "use crate::fleet::Fleet;\n"), source("src/fleet.rs", "")]
    )
    assert arrows["src/error.rs"] == {"src/fleet.rs": 1}


def test_a_name_with_two_meanings_is_found_and_a_wrapper_is_not() -> None:
    sources = [
        source("src/a.rs", "pub struct Entry;\npub struct Machine;\n"),
        source("src/b.rs", "struct Entry;\n"),
        source("src/c.rs", "struct Machine(crate::a::Machine);\n"),
    ]
    (row,) = house.double_names(sources)
    assert row.details == ["Entry: src/a.rs, src/b.rs"]


def test_long_files_functions_and_lines_are_found() -> None:
    body = "".join(f"    step({number});\n" for number in range(60))
    wide = f'    let text = "{"x" * 100}";\n'
    sources = [source("src/a.rs", f"fn long() {{\n{body}{wide}}}\n" + "// filler\n" * 240)]
    files, functions, lines = house.sizes(sources)
    assert files.details == ["src/a.rs: 303 lines"]
    assert functions.details == ["src/a.rs:1: long, 62 lines"]
    assert [detail.split(":")[1] for detail in lines.details] == ["62"]
