"""The steps of an operation: the requests that it makes, as a proxy sees them."""

from __future__ import annotations

import re
from enum import Enum


class Step(Enum):
    """One kind of request. The value is its name on the page."""

    TOKEN = "token"
    MACHINE = "resolve the machine name"
    LIBRARY = "list of the library"
    UPLOAD = "library upload"
    LIST = "list of actions"
    SUBMIT = "submit"
    POLL = "poll"
    CANCEL = "cancel"
    LINK = "result link"
    BLOB = "result"


ACTING = frozenset({Step.UPLOAD, Step.SUBMIT, Step.CANCEL})
"""Requests that change something at the service."""

WITH_ENTITY = frozenset({Step.MACHINE, Step.UPLOAD, Step.LIST, Step.SUBMIT, Step.POLL, Step.CANCEL})
"""Requests whose answer names a machine, an action or a file, and so can name another one."""

PATHS = (
    ("POST", r"/[^/]+/oauth2/v2\.0/token$", Step.TOKEN),
    ("GET", r"/api/machines(/[^/]+)?$", Step.MACHINE),
    ("GET", r"/api/libraryfiles$", Step.LIBRARY),
    ("POST", r"/api/libraryfiles$", Step.UPLOAD),
    ("POST", r"/api/machines/[^/]+/runliveresponse$", Step.SUBMIT),
    ("POST", r"/api/machineactions/[^/]+/cancel$", Step.CANCEL),
    ("GET", r"/api/machineactions/[^/]+/GetLiveResponseResultDownloadLink\(", Step.LINK),
    ("GET", r"/api/machineactions/[^/]+$", Step.POLL),
)


def step_of(method: str, target: str) -> Step:
    """Return the step of a request to the API or the login host."""
    path, _, query = target.partition("?")
    if method == "GET" and path == "/api/machineactions":
        # A poll asks for the ids that it knows; a lookup asks for all actions of a machine.
        return Step.POLL if re.search(r"filter=id(%20|\+| )in", query) else Step.LIST
    for wanted, pattern, step in PATHS:
        if method == wanted and re.match(pattern, path):
            return step
    raise AssertionError(f"no step makes this request: {method} {path}")
