"""What must hold in a cell. Each rule is computed from the cell; none is written for one cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mde_live_response import LiveResponseError

from .box import ARGUMENT, OTHER
from .operations import any_timed_out
from .steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mde_live_response import SessionResult

    from .box import Box
    from .cells import Cell
    from .operations import Ended, Trial

ONCE = "runs exactly once"
LOST = "nothing is lost"
CLEAR = "the error is clear"
HANG = "no hang"
LEAK = "no leak"
LIMITS = "the limits are kept"
SURVIVES = "a fault that passes is survived"
OCCURRED = "the fault occurred"
RULES = (OCCURRED, ONCE, LOST, CLEAR, SURVIVES, HANG, LEAK, LIMITS)


class Broken(tuple[str, str]):
    """A rule that did not hold, and what happened."""

    __slots__ = ()


def broken(rule: str, what: object) -> Broken:
    return Broken((rule, str(what)))


def judge_call(cell: Cell, trial: Trial, ended: Ended) -> Iterator[Broken]:
    """Judge how the call ended while the fault lasted."""
    if not trial.box.front.hits:
        yield broken(OCCURRED, "no request had the fault")
    for error in ended.errors:
        names_machine = any(error is other for other in ended.of_outcomes)
        yield from judge_error(cell, trial, error, names_machine)
    for text in ended.unclear:
        yield broken(CLEAR, text)
    for machine, result in ended.results.items():
        if result.ok:
            yield from judge_result(trial, machine, result)
    if cell.must_succeed and not has_succeeded(trial, ended):
        yield broken(SURVIVES, describe(ended))


def has_succeeded(trial: Trial, ended: Ended) -> bool:
    if ended.errors:
        return False
    if trial.session is not None:
        return True
    if set(ended.results) != set(trial.machines):
        return False
    wanted = "cancelled" if trial.cancels else "ok"
    return all(result.reason == wanted for result in ended.results.values())


def judge_error(
    cell: Cell, trial: Trial, error: BaseException, names_machine: bool
) -> Iterator[Broken]:
    name = type(error).__name__
    if not isinstance(error, LiveResponseError):
        yield broken(CLEAR, f"{name} is no LiveResponseError: {error}")
        return
    if not error.message.strip():
        yield broken(CLEAR, f"{name} without a message")
    known = {session["id"] for session in trial.box.sessions()}
    text = str(error)
    named = [*trial.machines, "run cell", *known]
    # A token is for an application, and the library for all machines of the tenant.
    if "could not get a token" in text:
        named.append(trial.box.emulator.client_id)
    if cell.step in (Step.LIBRARY, Step.UPLOAD):
        named.append("list the library" if cell.step is Step.LIBRARY else "the file tool-")
    names_machine = names_machine or bool(error.machine_id or error.action_id)
    if not (names_machine or any(name in text for name in named)):
        yield broken(CLEAR, f"{name} names no machine, run or action: {text}")
    # A time-out of the caller's own wait is no answer to whether the service recovers.
    if cell.is_outage and not error.retryable and not any_timed_out([error]):
        yield broken(CLEAR, f"{name} of an outage is not retryable: {text}")


def judge_result(trial: Trial, machine: str, result: SessionResult) -> Iterator[Broken]:
    """Judge a result that claims to be complete: it is that of our commands, whole."""
    if result.action.computer_dns_name == OTHER or result.action.id == trial.box.foreign:
        yield broken(LOST, f"the result of {machine} is somebody else's")
    wanted = f"on {result.action.machine_id} with {ARGUMENT}"
    if [script.stdout.splitlines()[-1] for script in result.scripts] != [wanted]:
        yield broken(LOST, f"a wrong transcript of {machine}: {result.scripts}")
    contents = [file.path.read_bytes() if file.path else b"" for file in result.files]
    if contents != [trial.box.evidence]:
        yield broken(LOST, f"a wrong file of {machine}: {result.files}")


def judge_recovery(cell: Cell | None, trial: Trial, ended: Ended) -> Iterator[Broken]:
    """Judge what the caller has once the fault is gone. `cell` is None if there was no fault."""
    if not ended.is_complete:
        yield broken(LOST, describe(ended))
    wanted = {"cancelled"} if trial.cancels else {"ok"}
    if trial.cancels and cell and cell.may_be_final:
        # The service said no to the cancel. Then the session ends with the service's queue time.
        wanted.add("timed_out")
    for machine, result in ended.results.items():
        if result.reason not in wanted:
            yield broken(LOST, f"{machine}: {result.reason}: {result.message}")
        elif result.ok:
            yield from judge_result(trial, machine, result)


def judge_service(box: Box, trial: Trial) -> Iterator[Broken]:
    """Judge what the service saw: one session for each machine, and no broken rule."""
    ids = {machine.removesuffix(".example.test"): machine for machine in trial.machines}
    found = [session["computerDnsName"] for session in box.sessions()]
    wanted = sorted(ids.values())
    if sorted(found) != wanted:
        yield broken(ONCE, f"sessions on {sorted(found)}, not on {wanted}")
    runs = 0 if trial.cancels else 1
    if sorted(box.runs.values()) != [runs] * (len(wanted) if runs else 0):
        yield broken(ONCE, f"the script ran {sorted(box.runs.values())} times")
    for rule, count in box.emulator.violations.items():
        if count:
            yield broken(ONCE if rule == "duplicate_submit" else LIMITS, f"{rule}: {count}")
    for failure in box.front.failures:
        yield broken(OCCURRED, f"the proxy of the test failed: {failure}")
    for sent in box.front.redirected:
        if sent:
            yield broken(LEAK, "a redirect was followed with the token")


def judge_leaks(box: Box, texts: str) -> Iterator[Broken]:
    for secret in box.secrets:
        if secret in texts:
            at = texts.index(secret)
            yield broken(LEAK, f"a secret in: {texts[max(0, at - 80) : at]}...")


def describe(ended: Ended) -> str:
    reasons = [f"{result.reason}: {result.message}" for result in ended.results.values()]
    errors = [f"{type(error).__name__}: {error}" for error in ended.errors]
    return "; ".join([*reasons, *errors, *ended.unclear]) or "no result and no error"
