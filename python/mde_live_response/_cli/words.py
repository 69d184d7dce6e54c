"""Says in the words of the command line what the library says in those of its Python API."""

from __future__ import annotations

import re

__all__ = ["count", "to_option_words"]

_OPTIONS = {
    "cancel_pending_after",
    "correlation_id",
    "description",
    "endpoint",
    "filter",
    "name",
    "on_busy",
    "overwrite",
    "parameters_description",
    "run_id",
    "save_to",
    "save_transcripts",
    "state",
    "tenant_id",
    "timeout",
    "top",
    "until",
}
"""The parameters of the Python API that are options of the command line."""

_PHRASES = {
    # The command line takes these from the environment only.
    "(proxy=, HTTPS_PROXY)": "(HTTPS_PROXY)",
    "proxy= or HTTPS_PROXY": "HTTPS_PROXY",
    ", proxy=False": "",
    "ca_bundle, REQUESTS_CA_BUNDLE": "REQUESTS_CA_BUNDLE",
    "a PEM file in ca_bundle": "a PEM file in REQUESTS_CA_BUNDLE",
    "check client_id, tenant_id": "check AZURE_CLIENT_ID, AZURE_TENANT_ID",
    "check tenant_id": "check AZURE_TENANT_ID",
    "correct client_id": "correct AZURE_CLIENT_ID",
    # It has no option for these.
    "set them, or pass a credential to the client": "set them",
    "; or pass a credential to the client": "",
    "give the command's index, from 0, or its CommandResult": "give the command's number, from 0",
    "call less often, or raise max_wait": "call less often",
    "after max_wait, ": "after ",
    "see connect_timeout; ": "",
    "see request_timeout": "the Python API can wait longer: request_timeout",
    "; if your tenant has a higher limit, raise Limits.upload_size": "",
    "at most Limits.upload_size bytes, 20 MB by default": "at most 20 MB",
    # An option is left out, instead of None.
    "or None for any": "or leave the option out",
    "or None to read every page": "or leave --top out",
    "call find_session() with this machine and correlation_id later": (
        "later, run the same commands on this machine with --correlation-id"
    ),
    'list_machines("aadDeviceId eq <id>")': 'machines --filter "aadDeviceId eq <id>"',
    "the conditions of list_machines()": "the selection",
    "list_machines(ip=...)": "machines --ip",
    "session(action_id).result()": "the command result",
    "session(active_action_id)": "the command status",
    "session.id": "the command sessions",
    "client.probe() without one": "probe without one",
    "the run continues: wait again with report()": "the command resume continues the run",
    "library.list()": "library list",
    "library.list_files()": "library list",
    "client.list_sessions()": "the command sessions",
    "choose a new run_id": "choose a new --run-id",
}
"""What the patterns below would leave wrong, longer texts first."""

_PATTERNS = (
    (r"(?:client\.)?resume\([^()]*\)", "the command resume"),
    (r"\bsession\.(result|cancel)\(\)", r"the command \1"),
    (r"\blibrary\.(ensure|delete|upload)\([^()]*\)", r"library \1"),
    (r"\bCommand\.([a-z]+)_([a-z]+)", r"--\1-\2"),
    (r"\bcode of run_inline\b", "code of --run-inline"),
)

# Not a key of JSON, which has quotes around it.
_PARAMETER = re.compile(
    r"(?<![\"'\w.-])(?P<name>[a-z]+(?:_[a-z]+)*)(?:=(?P<value>\"[^\"]*\"|'[^']*'|\w*))?(?![\w=(\"'])"
)


def to_option_words(text: str) -> str:
    """Replace the words of the Python API in a message by those of the command line."""
    for phrase in sorted(_PHRASES, key=len, reverse=True):
        text = text.replace(phrase, _PHRASES[phrase])
    for pattern, words in _PATTERNS:
        text = re.sub(pattern, words, text)
    return _PARAMETER.sub(_to_option, text)


def _to_option(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    # A word without an underscore or a value is plain English: "name", "state".
    if name not in _OPTIONS or (value is None and "_" not in name):
        return found[0]
    option = f"--{name.replace('_', '-')}"
    value = (value or "").strip("\"'")
    return option if value in ("", "True") else f"{option} {value}"


def count(number: int, thing: str) -> str:
    """Return a number of things in words: "1 file", "2 files"."""
    ending = "" if number == 1 else "es" if thing.endswith("s") else "s"
    return f"{number} {thing}{ending}"
