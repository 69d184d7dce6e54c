"""A headless Chromium, driven through its debugging pipe with nothing but the standard library."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATIENCE = 60
"""Seconds to wait for an answer, or for a page to be as expected."""

# Chromium reads commands from descriptor 3 and writes answers to descriptor 4.
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)
OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
)


def program() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "make test installs chromium-headless-shell"
    return found


def _high(descriptor: int) -> int:
    """Move a descriptor away from those that Chromium uses."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return moved


class Browser:
    """One browser with one page."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        commands, self._commands = map(_high, os.pipe())
        self._answers, answers = map(_high, os.pipe())
        start = [sys.executable, "-c", START, str(commands), str(answers), program()]
        self._process = subprocess.Popen(
            [*start, *OPTIONS, f"--user-data-dir={self._folder.name}"],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._left = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._commands)
        os.close(self._answers)
        self._folder.cleanup()

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Yield what Chromium says, until nothing comes for too long."""
        while True:
            message, separator, rest = self._left.partition(b"\0")
            if separator:
                self._left = rest
                yield json.loads(message)
                continue
            ready, _, _ = select.select([self._answers], [], [], PATIENCE)
            read = os.read(self._answers, 1 << 20) if ready else b""
            assert read, f"the browser said nothing; it ended with {self._process.poll()}"
            self._left += read

    def send(self, method: str, **params: Any) -> Any:
        """Send a command and return its result. Events that come before it are kept."""
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        for message in self._messages():
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self.events.append(message)
        raise AssertionError(method)

    def open(self, url: str) -> None:
        result = self.send("Page.navigate", url=url)
        assert "errorText" not in result, result
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page, or of the promise that it is."""
        result = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression in the page is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.evaluate(expression):
            text = self.evaluate("document.body && document.body.innerText")
            assert time.monotonic() < deadline, f"{expression} is not true: {text}"
            time.sleep(0.05)

    def screenshot(self, path: Path) -> None:
        data = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def named(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of the events with this name."""
        return [event["params"] for event in self.events if event.get("method") == method]
