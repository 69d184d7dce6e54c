"""Measures a GetFile over loopback TLS, its memory, and 200 downloads at once.

For comparison: `curl | gunzip | sha256sum` of the same link. MDE_LIVE_RESPONSE_BENCH_MIB sets the
largest size.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from ssl import create_default_context
from statistics import median

from peers.large_file import write

from mde_live_response import Command, Limits, LiveResponseClient, Rate
from mde_live_response.emulator import Emulator

LARGEST = int(os.environ.get("MDE_LIVE_RESPONSE_BENCH_MIB", "1024"))
ROUNDS, CONCURRENCY = 5, 200
MACHINE = "ws-0001.example.test"
LIMITS = Limits(read=[Rate(100_000, 60.0)])


def memory(field):
    # VmHWM is the peak of the process, VmRSS its current value.
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(field)
    ]
    return int(line.split()[1]) / 1024


def client():
    return LiveResponseClient(request_timeout=120, limits=LIMITS)


def one(action_id):
    """In a new process: measure a stream that is discarded, a download to disk, and memory."""
    with client() as own:
        session = own.session(action_id)
        session.refresh()
        before = memory("VmRSS")
        started = time.perf_counter()
        stream = session.stream(0)
        for _ in stream:
            pass
        streamed = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            file = session.download(0, Path(folder) / "a")
            saved = time.perf_counter() - started
        assert file.sha256 == stream.file.sha256
        print(json.dumps([streamed, saved, memory("VmHWM") - before, file.sha256]))


def many(action_id):
    """In a new process: measure time, memory and open files of 200 downloads at once."""
    most, ended = [0], threading.Event()

    def watch():
        while not ended.wait(0.01):
            most[0] = max(most[0], len(list(Path("/proc/self/fd").iterdir())))

    async def fetch(folder):
        async with client() as own:
            session = own.session(action_id)
            await session.refresh_async()
            before, started = memory("VmRSS"), time.perf_counter()
            await asyncio.gather(
                *(session.download_async(0, Path(folder) / str(at)) for at in range(CONCURRENCY))
            )
            return time.perf_counter() - started, memory("VmHWM") - before

    watcher = threading.Thread(target=watch)
    watcher.start()
    with tempfile.TemporaryDirectory() as folder:
        took, grown = asyncio.run(fetch(folder))
    ended.set()
    watcher.join()
    print(json.dumps([took, grown, most[0]]))


def child(emulator, what, action_id):
    command = [sys.executable, __file__, what, action_id]
    done = subprocess.run(
        command, env={**os.environ, **emulator.env}, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def link(emulator, action_id):
    url = (
        f"{emulator.url}/api/machineactions/{action_id}/GetLiveResponseResultDownloadLink(index=0)"
    )
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {emulator.token}"})
    with urllib.request.urlopen(
        request, context=create_default_context(cafile=emulator.ca_bundle)
    ) as answer:
        return json.load(answer)["value"]


def curl(emulator, action_id):
    started = time.perf_counter()
    line = 'curl -sS --noproxy "*" --cacert "$1" "$2" | gunzip | sha256sum'
    command = [
        "bash",
        "-o",
        "pipefail",
        "-c",
        line,
        "-",
        emulator.ca_bundle,
        link(emulator, action_id),
    ]
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return time.perf_counter() - started, out.split()[0].decode()


def main():
    # A fast clock makes the session short. The links must not expire with it.
    options = {"tls": True, "speed": 1000.0, "limits": LIMITS, "switches": {"link_life": 1e8}}
    with tempfile.TemporaryDirectory() as folder, Emulator(machines=1, **options) as emulator:
        own = emulator.client()

        def collect(mib):
            path = f"C:\\{mib}.dmp"
            emulator.put_remote_file("*", path, write(Path(folder) / str(mib), mib))
            action_id = own.run(MACHINE, Command.get_file(path), "bench").action.id
            # The emulator compresses a file when it is first requested: do it before measuring.
            curl(emulator, action_id)
            return action_id

        for mib in [size for size in (16, 64, 256, 1024) if size <= LARGEST]:
            action_id = collect(mib)
            rows = [
                (child(emulator, "one", action_id), curl(emulator, action_id))
                for _ in range(ROUNDS)
            ]
            assert len({digest for ours, theirs in rows for digest in (ours[3], theirs[1])}) == 1
            streamed, saved, grown = (median(ours[at] for ours, _ in rows) for at in range(3))
            theirs = median(theirs[0] for _, theirs in rows)
            print(
                f"{mib:5} MiB: curl | gunzip | sha256sum {theirs:6.2f} s; "
                f"streamed {streamed:6.2f} s, relative speed {theirs / streamed:4.2f}; "
                f"to disk {saved:6.2f} s, relative speed {theirs / saved:4.2f}; "
                f"memory grows by {grown:5.1f} MiB",
                flush=True,
            )
        took, grown, files = child(emulator, "many", collect(4))
        print(
            f"{CONCURRENCY} of 4 MiB at once: {took:.1f} s, memory grows by {grown:.1f} MiB, "
            f"at most {files} open files"
        )


if sys.argv[1:]:
    {"one": one, "many": many}[sys.argv[1]](*sys.argv[2:])
else:
    main()
