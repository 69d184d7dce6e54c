"""A stand-in for the part of Cortex XSOAR's `demisto` object that the example uses.

Written from https://xsoar.pan.dev/docs/reference/api/demisto-class. The server's side is the test:
it passes the parameters and arguments as JSON, and reads the entries from stdout.
"""

from __future__ import annotations

import json
import os
from typing import Any


def params() -> dict[str, Any]:
    """Return the configuration of the integration's instance."""
    found: dict[str, Any] = json.loads(os.environ["XSOAR_PARAMS"])
    return found


def args() -> dict[str, Any]:
    """Return the arguments of the command."""
    found: dict[str, Any] = json.loads(os.environ["XSOAR_ARGS"])
    return found


def results(entry: dict[str, Any]) -> None:
    """Return an entry to the server."""
    print(json.dumps(entry))
