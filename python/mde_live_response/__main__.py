"""Runs the command line: `python -m mde_live_response`."""

from __future__ import annotations

import sys

from mde_live_response._cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
