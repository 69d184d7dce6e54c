"""The command line: `mde-live-response`, or `python -m mde_live_response`.

It uses argparse: the package has no dependencies, and `uvx mde-live-response` installs no extras.
"""

from mde_live_response._cli.main import main

__all__ = ["main"]
