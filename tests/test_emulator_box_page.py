"""The emulator's page in a real browser: live, inert, and closed to other sites."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator

import pytest
from browser_helpers import Browser
from emulator_helpers import DIRECT, call, run, script

from mde_live_response.emulator import Emulator

HOSTILE = '"><img src=x onerror="window.broken=1"><script>window.broken=1</script>{{7*7}}\u202e'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, emulator: Emulator) -> Browser:
    browser.open("about:blank")
    browser.events.clear()
    browser.open(f"{emulator.url}/__box/")
    browser.wait_for("document.querySelectorAll('#machines tr').length === 3")
    return browser


def text(page: Browser, selector: str) -> str:
    shown: str = page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
    return shown


def contains(selector: str, wanted: str) -> str:
    found = f"document.querySelector({json.dumps(selector)})?.textContent"
    return f"{found}?.includes({json.dumps(wanted)})"


def test_it_shows_what_happens_as_it_happens(page: Browser, emulator: Emulator) -> None:
    assert "ws-0001.example.test" in text(page, "#machines")
    assert "duplicate_submit: 0" in text(page, "#violations")
    emulator.add_machine("srv-01.example.test", online=False, osPlatform="Linux")
    page.wait_for(contains("#machines tr:last-child", "srv-01.example.testofflineLinux"))
    emulator.on_script("triage.ps1", duration=1e5)
    emulator.on_script("quick.ps1", duration=1)
    action = run(emulator, script("triage.ps1", Args="-Depth 2"), comment="case 42")
    page.wait_for(contains("#sessions", "RunScript triage.ps1 -Depth 2case 42"))
    page.wait_for("document.querySelectorAll('#timeline .lane .InProgress').length === 1")
    page.wait_for(contains("#machines tr:first-child", action["id"]))
    page.wait_for(contains("#requests", "/runliveresponse"))
    # A second session on a busy machine is refused, and is a violation.
    run(emulator, script("quick.ps1"))
    page.wait_for(contains("#violations li.broken", "machine_busy: 1"))
    run(emulator, script("quick.ps1"), machine="ws-0002")
    emulator.advance(60)
    page.wait_for("document.querySelectorAll('#timeline .lane .Succeeded').length === 1")
    assert page.evaluate("document.querySelectorAll('#timeline .lane').length") == 2
    emulator.reset()
    page.wait_for("document.querySelectorAll('#sessions tr, #requests tr').length === 0")


def test_the_bars_are_as_long_as_the_sessions(page: Browser, emulator: Emulator) -> None:
    emulator.on_script("slow.ps1", duration=500)
    emulator.add_foreign_session("ws-0001", 1000)
    run(emulator, script("slow.ps1"), machine="ws-0002")
    emulator.advance(2000)
    page.wait_for("document.querySelectorAll('#timeline .Succeeded').length === 2")
    widths = page.evaluate(
        "[...document.querySelectorAll('#timeline .lane button')].map(bar => "
        "bar.getBoundingClientRect().width / bar.parentNode.getBoundingClientRect().width)"
    )
    # From the begin of the first one to the end of the last one: 1,000 seconds and a little.
    assert 0.95 < widths[0] <= 1.01
    assert 0.45 < widths[1] < 0.55


def test_hostile_names_are_text(page: Browser, emulator: Emulator) -> None:
    emulator.add_machine(f"{HOSTILE}.example.test", osPlatform=HOSTILE)
    emulator.on_script("a.ps1")
    run(emulator, script("a.ps1", Args=HOSTILE), comment=HOSTILE)
    emulator.set_property("machines", "osPlatform", HOSTILE)
    call(emulator, "GET", "/{0}?q={0}".format(urllib.parse.quote(HOSTILE, safe="")))
    page.wait_for(contains("#sessions", HOSTILE))
    page.wait_for(contains("#machines tr:last-child td:nth-child(3)", HOSTILE))
    page.wait_for("document.querySelectorAll('#requests tr').length > 2")
    page.evaluate("document.querySelector('#sessions button').click()")
    page.wait_for("document.querySelector('dialog').open")
    assert "onerror" in text(page, "dialog pre")
    assert page.evaluate("document.querySelectorAll('img, svg, iframe, body script').length") == 1
    assert page.evaluate("window.broken") is None
    # Nothing tried to run: the policy had nothing to stop.
    assert not page.named("Log.entryAdded")
    assert not page.named("Runtime.exceptionThrown")


def test_the_policy_allows_nothing_else(page: Browser, emulator: Emulator) -> None:
    page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1';"
        "document.body.append(s); document.body.insertAdjacentHTML('beforeend', "
        "'<img src=x onerror=\"window.broken=1\">');"
    )
    other = page.evaluate("fetch('http://127.0.0.1:1/x').then(() => 'sent', () => 'refused')")
    frame = page.evaluate(
        "new Promise(done => {addEventListener('securitypolicyviolation', e => "
        "done(e.violatedDirective)); const f = document.createElement('iframe'); "
        "f.src = '/__box/'; document.body.append(f)})"
    )
    assert (other, frame, page.evaluate("window.broken")) == ("refused", "frame-src", None)
    assert len(page.named("Log.entryAdded")) >= 2


def test_its_own_requests_are_not_counted(page: Browser, emulator: Emulator) -> None:
    urls = [event["request"]["url"] for event in page.named("Network.requestWillBeSent")]
    assert len(urls) > 5
    assert all(url.startswith((f"{emulator.url}/__box/", "data:")) for url in urls), urls
    assert not emulator.counters
    assert not emulator.requests


def test_it_follows_the_colours_of_the_system(page: Browser) -> None:
    def background(scheme: str) -> str:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.send("Emulation.setEmulatedMedia", features=[feature])
        shown: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return shown

    assert background("light") == "rgb(255, 255, 255)"
    assert background("dark") == "rgb(20, 24, 29)"


def test_it_says_when_the_emulator_is_gone(browser: Browser) -> None:
    with Emulator() as emulator:
        browser.open(f"{emulator.url}/__box/")
        browser.wait_for("document.querySelectorAll('#machines tr').length === 3")
        assert text(browser, "#failure") == ""
    browser.wait_for(contains("#failure", "does not answer"))


def test_a_page_of_another_site_reaches_nothing(browser: Browser, emulator: Emulator) -> None:
    """Another port is another site for the control, although the browser calls it the same."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><body>another site")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Print nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for host in ("127.0.0.1", "localhost"):
            browser.open(f"http://{host}:{server.server_port}/")
            attack = f"fetch('{emulator.url}/__box/machines', {{method: 'POST', mode: 'no-cors', "
            attack += "body: JSON.stringify({name: 'evil'})}).then(() => 'sent', () => 'failed')"
            browser.evaluate(attack)
            read = f"fetch('{emulator.url}/__box/machines').then(r => r.text(), () => 'refused')"
            assert browser.evaluate(read) == "refused"
    finally:
        server.shutdown()
        server.server_close()
    with DIRECT.open(f"{emulator.url}/__box/machines", timeout=30) as response:
        assert len(json.load(response)) == 3
