"""The exit codes of every command."""

OK = 0
"""All went well."""

FAILED = 1
"""It ended and was not ok: a session, a machine among many, a check."""

USAGE = 2
"""Wrong usage, or an `InvalidRequestError`."""

REFUSED = 3
"""The service, a permission or a limit prevented it, or `--timeout` ended the wait."""

INTERRUPTED = 130
"""Ctrl-C."""

TERMINATED = 143
"""SIGTERM."""
