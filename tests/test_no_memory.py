"""A process that gets no more memory: what starts is refused, and works once there is memory."""

from __future__ import annotations

import sys

import pytest
from runtime_helpers import MACHINE, run_python

from mde_live_response.emulator import Emulator

WITHOUT_MEMORY = f"""
# Imported first: under the limit, no module can be loaded.
import errno, os, pathlib, resource
import mde_live_response as mde
from mde_live_response import _credential, _log_delivery, errors
from mde_live_response.emulator import Emulator
def make_client():
    return mde.LiveResponseClient(state="memory:")
def run(client):
    assert client.run({MACHINE!r}, mde.Command.run_inline("id"), "why").ok
BEFORE
limits = resource.getrlimit(resource.RLIMIT_AS)
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE"), limits[1]))
try:
    WORK
except OSError as error:
    refused = error
else:
    refused = None
resource.setrlimit(resource.RLIMIT_AS, limits)
assert refused is not None, "it was not refused"
assert refused.errno == errno.ENOMEM, refused
assert "ulimit -v" in str(refused), refused
WORK
print("done")
"""
STARTS = {
    "a client": ("", "run(make_client())"),
    "the first call": ("client = make_client()", "run(client)"),
    "an emulator": ("", "Emulator().close()"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc, which only Linux has")
@pytest.mark.parametrize("start", STARTS)
def test_without_memory_a_start_is_refused(start: str, emulator: Emulator) -> None:
    before, work = STARTS[start]
    code = WITHOUT_MEMORY.replace("BEFORE", before).replace("WORK", work)
    for _ in range(3):
        done = run_python(code, emulator.env)
        assert (done.code, done.out, done.err) == (0, "done\n", ""), done
