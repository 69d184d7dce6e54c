"""Runs one action of the Splunk SOAR example, as the action daemon does: a process for each run.

Reads the action's JSON from stdin, and writes its results to stdout. Uses the classes of Splunk's
SDK if it is installed, else those of the stand-in beside this file.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys

MODULES = ("phantom", "phantom.app", "phantom.action_result", "phantom.base_connector")


def use_sdk() -> None:
    """Make the SDK's classes the platform's modules."""
    # They are imported first: they would take the stand-in for the platform.
    shims = {name: importlib.import_module(f"soar_sdk.shims.{name}") for name in MODULES}
    sys.modules.update(shims)


def main() -> None:
    here = sys.path.pop(0)
    has_sdk = importlib.util.find_spec("soar_sdk") is not None
    if has_sdk:
        use_sdk()
    else:
        sys.path.insert(0, here)
    connector = importlib.import_module("splunk_connector").LiveResponseConnector()
    connector._handle_action(sys.stdin.read(), 0)
    results = [
        {
            "status": "success" if result.get_status() else "failed",
            "message": result.get_message(),
            "summary": result.get_summary(),
            "data": result.get_data(),
        }
        for result in connector.get_action_results()
    ]
    json.dump({"sdk": has_sdk, "action_results": results}, sys.stdout)


if __name__ == "__main__":
    main()
