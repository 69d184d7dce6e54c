"""What a notebook shows. Text of a device or the service must not become markup."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

import mde_live_response as mde
from mde_live_response import Command, LiveResponseClient, LiveResponseError, evidence
from mde_live_response.display import markup, table
from mde_live_response.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTILE = "<img src=x onerror=alert(1)>\x1b]0;owned\x07&amp;\u202e'\""
PATH = r"C:\a<script>alert(1)</script>.txt"
TAGS = "b br div line p pre rect small span svg table tbody td text th thead title tr"
ATTRIBUTES = (
    "anchor aria-hidden aria-label fill font-size height role scope stroke stroke-opacity style"
    " text-anchor viewbox width x x1 x2 y y1 y2"
)


class Page(HTMLParser):
    """Checks a page as a browser reads it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.cells: list[str] = []
        self.feed(html)
        self.close()
        assert all(c.isprintable() or c == "\n" for c in html), html

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS.split(), tag
        assert {name for name, _ in attrs} <= set(ATTRIBUTES.split()), attrs
        style = dict(attrs).get("style") or ""
        assert "url(" not in style
        if tag in ("td", "th"):
            self.cells.append(style)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=3) as emulator:
        emulator.on_script("a.ps1", stdout=f"first\n{HOSTILE}", stderr=HOSTILE, exit_code=7)
        emulator.put_remote_file("*", PATH, b"evidence")
        yield emulator


def show_everything(client: LiveResponseClient, folder: Path) -> dict[str, Any]:
    """Return one object of each class that a notebook may show."""
    script = Command.run_script("a.ps1", HOSTILE)
    machine = client.list_machines()[0]
    (folder / "tool.ps1").write_text("echo 1")
    client.library.upload(folder / "tool.ps1", description=HOSTILE)
    result = client.run(
        machine, [script, Command.get_file(PATH)], HOSTILE, save_to=folder / "evidence"
    )
    fleet = client.run_many([*client.list_machines(), HOSTILE], script, "why")
    report = fleet.report(60)
    with pytest.raises(LiveResponseError) as caught:
        client.run(HOSTILE, script, HOSTILE)
    objects = [
        client.check("ws-0002.example.test"),
        client.probe(),
        client.library.list_files()[0],
        client.library.prune(older_than=0, dry_run=True),
        client.list_runs()[0],
        client.session(result.action.id),
        mde.Limits(),
        machine,
        result,
        result.action,
        result.commands[0],
        result.files[0],
        result.scripts[0],
        fleet,
        report,
        report[0],
        evidence.verify(folder / "evidence"),
        evidence.pack(folder / "evidence"),
    ]
    return {type(item).__name__: item for item in objects} | {"error": caught.value}


def test_everything_is_shown_and_hostile_text_is_inert(
    client: LiveResponseClient, tmp_path: Path
) -> None:
    for name, item in show_everything(client, tmp_path).items():
        page = Page(item._repr_html_())
        assert page.text.strip(), name
        assert all("text-align:left" in style for style in page.cells), name


def test_everything_fits_in_a_table(client: LiveResponseClient, tmp_path: Path) -> None:
    shown = show_everything(client, tmp_path)
    for name in ("Fleet", "FleetReport", "Limits", "Packed"):
        shown.pop(name)
    for name, item in shown.items():
        made = table([item, item])
        assert len(made) == 2, name
        page = Page(made._repr_html_())
        assert len(page.cells) % 3 == 0, name
        assert "{'" not in page.text, f"{name}: a value is shown as Python writes it"
        assert str(made).count("\n") == 2, name


def test_problems_of_a_folder_are_shown_and_inert(
    client: LiveResponseClient, tmp_path: Path
) -> None:
    show_everything(client, tmp_path)
    folder = tmp_path / "evidence"
    (folder / "<img src=x onerror=alert(1)>").write_text("not collected")
    for item in (evidence.verify(folder), evidence.pack(folder, tmp_path / "b.zip")):
        page = Page(item._repr_html_())
        assert "1 problem" in page.text.replace("\N{NO-BREAK SPACE}", " ")
        assert "onerror=alert(1)" in page.text


def test_every_model_has_a_page() -> None:
    models = [value for value in vars(mde).values() if isinstance(value, type)]
    models = [m for m in models if hasattr(m, "to_dict") and m not in (Command, mde.Rate)]
    assert len(models) > 10
    assert [model for model in models if not hasattr(model, "_repr_html_")] == []


def test_a_result_shows_its_output_and_labels_stderr(
    client: LiveResponseClient, tmp_path: Path
) -> None:
    shown = show_everything(client, tmp_path)
    for name in ("SessionResult", "ScriptOutput"):
        html = shown[name]._repr_html_()
        page = Page(html)
        assert "exit code 7" in page.text
        assert "onerror=alert(1)" in page.text
        assert page.words.count("stderr") == 1
        assert "font-family:monospace" in html


def test_a_page_is_short_however_much_a_script_prints(emulator: Emulator) -> None:
    emulator.on_script("long.ps1", stdout="x" * 2_000_000)
    with emulator.client() as client:
        result = client.run("ws-0001.example.test", Command.run_script("long.ps1"), "why")
    items: tuple[Any, ...] = (result, result.commands[0], result.scripts[0])
    for item in (*items, table(result.scripts)):
        html = item._repr_html_()
        assert len(html) < 50_000
        assert "more characters" in html


def test_lines_of_output_stay_lines_in_a_table(client: LiveResponseClient) -> None:
    result = client.run("ws-0001", Command.run_script("a.ps1"), "why")
    html = table(result.scripts)._repr_html_()
    assert "first\n&lt;img" in html
    assert "font-family:monospace" in html


def test_times_are_short_in_columns_that_were_asked_for(client: LiveResponseClient) -> None:
    shown = str(table(client.list_machines(), columns=["last_seen"])).splitlines()
    assert len(shown[1]) == len("2026-01-01 00:00:00 UTC"), shown


def test_each_colour_of_a_run_means_one_thing(emulator: Emulator) -> None:
    emulator.on_script("ok.ps1", stdout="fine")
    bad = Command.run_script("a.ps1")
    with emulator.client() as client:
        names = ["ws-0001", "ws-0002", "ws-0003"]
        fleet = client.run_many(
            names, dict.fromkeys(names[:2], bad) | {names[2]: Command.run_script("ok.ps1")}, "why"
        )
        report = fleet.report(60)
    green, red = (
        f'color:{colour}" aria-hidden="true">&#9679;</span>&nbsp;'
        for colour in (markup.GREEN, markup.RED)
    )
    assert f"{green}1 succeeded" in fleet._repr_html_()
    assert f"{red}2 failed" in fleet._repr_html_()
    html = report._repr_html_()
    legend = html[html.index("sessions since") : html.index("<svg")]
    assert f"{green}ok" in legend
    assert f"{red}script" in legend
    assert html.count(f'fill="{markup.RED}"') == 2
    outcome: Any = report[0]
    assert f"{red}script" in outcome._repr_html_()


def test_the_timeline_has_names_a_scale_and_no_more_bars_than_are_seen(
    client: LiveResponseClient,
) -> None:
    report = client.run_many(client.list_machines(), Command.run_script("a.ps1"), "why").report(60)
    html = report._repr_html_()
    page = Page(html)
    assert html.count("<rect") == 3
    assert "0 s" in page.words
    assert sum(word.startswith("ws-000") for word in page.words) >= 9  # label, title and row
    counts = [word for word in page.words if "3\N{NO-BREAK SPACE}" in word or "3 script" in word]
    assert counts, page.words


def test_a_table_is_text_on_a_terminal_and_html_in_a_notebook(client: LiveResponseClient) -> None:
    machines = client.list_machines()
    shown = table(machines)
    assert len(shown) == 3
    lines = str(shown).splitlines()
    assert lines[0].split() == ["name", "id", "OS", "health", "last", "seen", "tags"]
    assert lines[1].startswith("ws-0001.example.test")
    page = Page(shown._repr_html_())
    assert all(machine.id in page.words for machine in machines)


def test_a_table_shows_the_columns_that_were_asked_for(client: LiveResponseClient) -> None:
    shown = table(client.list_machines(), columns=["health_status", "id"])
    assert str(shown).splitlines()[0].split() == ["health_status", "id"]
    with pytest.raises(AttributeError, match="no_such"):
        table(client.list_machines(), columns=["no_such"])
    with pytest.raises(TypeError, match="list of names"):
        table(client.list_machines(), columns="id")


def test_a_table_of_records_has_every_key() -> None:
    shown = table([{"a": 1, "b": HOSTILE}, {"a": None, "c": True}])
    assert str(shown).splitlines()[0].split() == ["a", "b", "c"]
    assert "\x1b" not in str(shown)
    page = Page(shown._repr_html_())
    assert {"1", "yes"} <= set(page.words)


def test_a_table_of_several_kinds_names_them(client: LiveResponseClient) -> None:
    machine = client.list_machines()[0]
    with pytest.raises(TypeError, match="Finding, Machine"):
        table([machine, *client.check("nobody.example.test").findings])
    with pytest.raises(TypeError, match="int"):
        table([1, 2])


def test_an_empty_table_says_so() -> None:
    assert str(table([])) == "nothing to show"
    assert "nothing to show" in table(())._repr_html_()


def test_a_long_table_says_what_it_leaves_out() -> None:
    html = table([{"n": n} for n in range(1234)])._repr_html_()
    assert html.count("<tr>") == 501
    assert "734 more are not shown" in html


def test_errors_of_several_classes_are_one_table(client: LiveResponseClient) -> None:
    errors = []
    for machine in ("", "nobody.example.test"):
        with pytest.raises(LiveResponseError) as caught:
            client.run(machine, Command.run_script("a.ps1"), "why")
        errors.append(caught.value)
    assert "NotFoundError" in str(table(errors))
    assert "InvalidRequestError" in str(table(errors))
