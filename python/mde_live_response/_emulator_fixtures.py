"""The methods with which a test configures an emulator: machines, files, scripts and faults."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from . import _emulator_validation as validation
from ._native import ScriptOutput

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from . import Machine
    from ._native import EmulatorServer

# A union of two Literals, because stubtest rejects an alias of a single one.
FaultKind: TypeAlias = (
    Literal["drop_before", "drop_unread", "drop_after"]
    | Literal["status", "delay", "truncate", "garble", "expire_token", "wrong_entity", "page"]
)


class EmulatorFixtures:
    """The part of `Emulator` that a test configures."""

    _server: EmulatorServer
    _machines: int

    def _add(self, section: str, entry: dict[str, Any]) -> dict[str, Any]:
        """Set what an entry of a config describes."""
        added: dict[str, Any] = json.loads(self._server.add_entry(section, json.dumps(entry)))
        return added

    def add_machine(
        self,
        name: str,
        *,
        online: bool = True,
        start_delay: float = 0.5,
        remediation_level: bool = True,
        supported: bool = True,
        **properties: Any,
    ) -> Machine:
        """Add a machine.

        Args:
            name: The full name, such as `srv-01.example.test`. Methods and calls accept its first
                label alone too.
            online: Whether sessions start. The sessions of an offline machine stay `Pending`.
            start_delay: Seconds from an accepted submit to `InProgress`, 0 to 1e9.
            remediation_level: Whether its device group has one. Without it, a submit is a 403
                `DisallowedOperation`.
            supported: Whether its operating system supports live response. Without it, a submit is
                a 400 `OsPlatformNotSupported`.
            properties: Properties of the service's machine entity, such as `osPlatform`,
                `healthStatus`, `machineTags`, `lastSeen` and `id`.

        Returns:
            The machine as the API describes it.

        Raises:
            InvalidRequestError: The service has no such property, a value is invalid, or the id
                exists.
            TypeError: A value has the wrong type.
        """
        added = self._server.add_machine(
            validation.text("name", name),
            validation.boolean("online", online),
            validation.seconds("start_delay", start_delay),
            validation.boolean("remediation_level", remediation_level),
            validation.boolean("supported", supported),
            validation.as_json("properties", properties),
        )
        self._machines += 1
        return added

    def set_online(self, machine: str, online: bool) -> None:
        """Set a machine, by id or name, online or offline.

        Raises:
            NotFoundError: There is no such machine.
        """
        self._server.set_online(
            validation.text("machine", machine), validation.boolean("online", online)
        )

    def set_stuck(self, machine: str, stuck: bool) -> None:
        """Make every submit to a machine a 500 without a body, or stop that.

        Raises:
            NotFoundError: There is no such machine.
        """
        self._server.set_stuck(
            validation.text("machine", machine), validation.boolean("stuck", stuck)
        )

    def add_foreign_session(
        self,
        machine: str,
        seconds: float,
        *,
        listed: bool = True,
        answer: Literal["error", "foreign"] = "error",
    ) -> str:
        """Add a session of another caller, which occupies the machine.

        Args:
            machine: The id or name of the machine.
            seconds: How long the session lasts, 0 to 1e9.
            listed: Whether the API shows the session. False is a portal session.
            answer: The response to a submit meanwhile. `error` is 400 `ActiveRequestAlreadyExists`,
                `foreign` is 201 with the other caller's action.

        Returns:
            The id of the session's action.

        Raises:
            InvalidRequestError: The machine has an open session, or a value is invalid.
            NotFoundError: There is no such machine.
        """
        session = {
            "machine": validation.text("machine", machine),
            "seconds": validation.seconds("seconds", seconds),
            "listed": validation.boolean("listed", listed),
            "answer": validation.text("answer", answer),
        }
        return str(self._add("foreign_sessions", session)["id"])

    def add_library_file(self, name: str, content: bytes = b"") -> None:
        """Add a file to the library, or replace the file with that name.

        Args:
            name: Letters, digits, `-`, `_` and `.`.
            content: The content of the file.

        Raises:
            InvalidRequestError: The name is invalid.
        """
        self._server.add_library_file(
            validation.text("name", name), validation.binary("content", content)
        )

    def on_script(
        self,
        name: str,
        *,
        stdout: str | Callable[[str, str | None], ScriptOutput | str] = "",
        stderr: str = "",
        exit_code: int | None = 0,
        duration: float = 1.0,
        fails: str | None = None,
    ) -> None:
        """Set what a script does, and add it to the library if it is not there.

        A script of the library without a behaviour prints its name and its arguments.

        Args:
            name: The name of the script in the library.
            stdout: What the script prints, or a callable. The callable gets the machine id and the
                arguments, runs on a thread of the emulator, and returns what the script prints or a
                ScriptOutput. An exception fails the command.
            stderr: What the script prints to stderr.
            exit_code: The exit code. None leaves it out of the transcript.
            duration: How long the script runs, in seconds, 0 to 1e9.
            fails: Make the command end `Failed` with this error.

        Raises:
            InvalidRequestError: The name is invalid, or a value is out of bounds.
            TypeError: A value has the wrong type.
        """
        script = stdout if callable(stdout) else None

        def call(machine: str, args: str | None) -> tuple[str, str, int | None]:
            output = script(machine, args) if script else ""
            if isinstance(output, ScriptOutput):
                return output.stdout, output.stderr, output.exit_code
            return validation.text("the callable's result", output), stderr, exit_code

        self._server.on_script(
            validation.text("name", name),
            "" if callable(stdout) else validation.text("stdout", stdout),
            validation.text("stderr", stderr),
            None
            if exit_code is None
            else validation.integer("exit_code", exit_code, -(2**31), 2**32 - 1),
            validation.seconds("duration", duration),
            None if fails is None else validation.text("fails", fails),
            call if script else None,
        )

    def put_remote_file(self, machine: str, path: str, content: bytes | PathLike[str]) -> None:
        """Put a file on a machine's disk, where GetFile finds it.

        Args:
            machine: The id or name of the machine. `*` means every machine.
            path: The full path of the file on the machine.
            content: The bytes, or the path of a local file, which is read when it is collected.

        Raises:
            FileNotFoundError: The local file does not exist.
            NotFoundError: There is no such machine.
        """
        self._server.put_remote_file(
            validation.text("machine", machine),
            validation.text("path", path),
            validation.content("content", content),
        )

    def fault(
        self,
        method: str,
        path: str,
        kind: FaultKind,
        *,
        nth: int = 1,
        times: int = 1,
        **details: Any,
    ) -> None:
        """Apply a fault to the `nth` matching call from now on, and to the `times - 1` after it.

        Args:
            method: The HTTP method, or `*` for any.
            path: A path such as `/api/machineactions/*/cancel`, where `*` stands for one segment,
                or the name of a route as in `counters`, such as `runliveresponse`.
            kind: What happens. `status` returns an error (details: `status`, `body`, `headers`,
                `content_type`, `code` or `x_ms_error_code` for an error of the API or of the
                storage, and `acts=True` to process the request first). `page` returns a page that
                is no result, such as a proxy's (details: `status`, `body`, `content_type`,
                `headers`, `acts`). `wrong_entity` processes the request and returns another action
                or machine (detail: `entity`, its id). `drop_before` closes the connection after
                reading the request, `drop_unread` before reading it, `drop_after` after processing
                it. `delay` delays the response (details: `seconds` of wall time, and
                `acts=True` to process the request first). `truncate` closes
                the connection within the body (detail: `keep` bytes). `garble` corrupts the body.
                `expire_token` expires the call's token.
            nth: Which matching call comes first, from 1.
            times: How many matching calls get the fault, from 1.
            details: The details of the kind.

        Raises:
            InvalidRequestError: There is no such route, kind or detail, or a value is out of
                bounds.
            TypeError: A value has the wrong type.
        """
        body = details.get("body")
        if isinstance(body, dict | list):
            details["body"] = json.dumps(body)
        elif isinstance(body, bytes):
            # JSON has no bytes.
            details["body_base64"] = base64.b64encode(details.pop("body")).decode()
        rule = {
            "method": validation.text("method", method),
            "path": validation.text("path", path),
            "kind": validation.text("kind", kind),
            "nth": validation.integer("nth", nth, 1, 2**32 - 1),
            "times": validation.integer("times", times, 1, 2**32 - 1),
        }
        validation.as_json("fault", details)
        self._add("faults", {**details, **rule})

    def set_property(self, entity: str, name: str, value: Any) -> None:
        """Make the API show any value as a property, such as a wrong type.

        What the emulator does, and what its filters match, stays as it is.

        Args:
            entity: The id of an action or a machine, the name of a machine or a library file, or
                `machineactions`, `machines` or `libraryfiles`: all of a kind, including those to
                come.
            name: The name of the property in the JSON of the API.
            value: What JSON can represent. `...` (Ellipsis) leaves the property out.

        Raises:
            InvalidRequestError: JSON cannot represent the value.
            NotFoundError: There is no such action, machine or file.
            TypeError: A value has the wrong type.
        """
        shown = {"entity": validation.text("entity", entity), "name": validation.text("name", name)}
        if value is ...:
            self._add("properties", {**shown, "left_out": True})
            return
        validation.as_json("property", {name: value})
        self._add("properties", {**shown, "value": value})

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock forward.

        Args:
            seconds: How far, 0 to 1e9.

        Raises:
            InvalidRequestError: The value is out of bounds.
        """
        self._server.advance(validation.seconds("seconds", seconds))
