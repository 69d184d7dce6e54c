"""The status of an action."""

from __future__ import annotations

APP_SUCCESS = True
APP_ERROR = False
