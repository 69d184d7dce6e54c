"""Serves what the peers read: an emulator, and one page of 10,000 machine actions.

It runs in a process of its own, so that only the clients are measured. It prints where it listens.
"""

import contextlib
import http.server
import json
import sys
import tempfile
import threading
import urllib.request
import uuid
from pathlib import Path

from large_file import write

from mde_live_response import Command, Limits, Rate
from mde_live_response.emulator import Emulator

LIMITS = Limits(submit=[Rate(1_000_000, 60.0)], read=[Rate(1_000_000, 60.0)], sessions=100_000)
MACHINE = "ws-0001.example.test"
PAGE_SIZE = 10_000
FILE_MIB = 1024


def read(url, token):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def make_page(action):
    """Return the bytes of a list whose records differ from `action` by their ids."""
    ids = (str(uuid.UUID(int=at, version=4)) for at in range(PAGE_SIZE))
    return json.dumps({"value": [{**action, "id": it} for it in ids]}).encode()


def serve_page(page):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


@contextlib.contextmanager
def files(path, **options):
    """Serve one collected file, and yield where."""
    # The clock is fast, so that the session is short. The links must not expire with it.
    switches = {"link_life": 1e8}
    with Emulator(machines=1, limits=LIMITS, speed=1000.0, switches=switches, **options) as served:
        served.put_remote_file("*", "C:\\memory.dmp", path)
        with served.client() as client:
            command = Command.get_file("C:\\memory.dmp")
            session = client.session(client.run(MACHINE, command, "bench").action.id)
            session.refresh()
            # The emulator compresses a file when it is first requested.
            for _ in session.stream(0):
                pass
        bundle = {"ca_bundle": served.ca_bundle} if served.ca_bundle else {}
        yield {
            "url": served.url,
            "token": served.token,
            "file_action_id": session.id,
            **bundle,
        }


def main():
    # A fast clock ends a session at once, so that its cost is not hidden by waits.
    with (
        Emulator(machines=200, limits=LIMITS, speed=1000.0) as emulator,
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as stack,
    ):
        path = write(Path(folder) / "memory.dmp", FILE_MIB)
        emulator.add_library_file("a.ps1")
        action = emulator.client().run(MACHINE, Command.run_script("a.ps1"), "bench").action
        url = f"{emulator.url}/api/machineactions/{action.id}"
        there = {
            "url": emulator.url,
            "login_url": emulator.login_url,
            "token": emulator.token,
            "action_url": url,
            "action_id": action.id,
            "files": stack.enter_context(files(path)),
            "tls_files": stack.enter_context(files(path, tls=True)),
            "page_url": serve_page(make_page(read(url, emulator.token))),
        }
        print(json.dumps(there), flush=True)
        sys.stdin.read()


main()
