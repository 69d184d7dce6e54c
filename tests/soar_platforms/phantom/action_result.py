"""The result of one call of an action."""

from __future__ import annotations

from typing import Any


class ActionResult:
    def __init__(self, param: dict[str, Any]) -> None:
        self.param = param
        self.status, self.message = False, ""
        self.data: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}

    def set_status(self, status: bool, message: str = "") -> bool:
        self.status, self.message = status, message
        return status

    def set_summary(self, summary: dict[str, Any]) -> None:
        self.summary = summary

    def add_data(self, data: dict[str, Any]) -> None:
        self.data.append(data)

    def get_status(self) -> bool:
        return self.status

    def get_message(self) -> str:
        return self.message

    def get_summary(self) -> dict[str, Any]:
        return self.summary

    def get_data(self) -> list[dict[str, Any]]:
        return self.data
