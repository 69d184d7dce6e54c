"""Answers about another machine, action or file than the one that was asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .steps import Step


@dataclass(frozen=True)
class Decoy:
    """A machine and an ended action of somebody else."""

    machine: dict[str, Any]
    action: dict[str, Any]


def exchange(step: Step, body: bytes, decoy: Decoy) -> bytes:
    """Return the answer of a step, about the decoy."""
    answer = json.loads(body)
    other: dict[str, Any] = decoy.machine if step is Step.MACHINE else decoy.action
    if step is Step.UPLOAD:
        answer["fileName"] = "another.txt"
    elif "value" in answer:
        answer["value"] = [other]
    else:
        context = {key: value for key, value in answer.items() if key.startswith("@")}
        answer = {**context, **other}
    return json.dumps(answer).encode()
