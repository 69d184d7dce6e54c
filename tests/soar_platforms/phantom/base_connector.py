"""The base class of an app."""

from __future__ import annotations

import json
from typing import Any

from phantom.action_result import ActionResult


class BaseConnector:
    def __init__(self) -> None:
        self.action_results: list[ActionResult] = []
        self.config: dict[str, Any] = {}

    def handle_action(self, param: dict[str, Any]) -> bool:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return self.config

    def add_action_result(self, action_result: ActionResult) -> ActionResult:
        self.action_results.append(action_result)
        return action_result

    def get_action_results(self) -> list[ActionResult]:
        return self.action_results

    def _handle_action(self, action: str, _handle: int) -> None:
        """Execute the action's JSON, as the daemon does."""
        content = json.loads(action)
        self.config = content["config"]
        for param in content["parameters"]:
            self.handle_action(param)
