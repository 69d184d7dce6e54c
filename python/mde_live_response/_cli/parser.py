"""The parser of each command: help that fits the terminal, and short errors."""

from __future__ import annotations

import argparse
import sys
import textwrap

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, NoReturn

__all__ = ["Parser"]


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps paragraphs, and leaves indented lines as they are: they are examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for line in text.splitlines():
            if line.startswith(" "):
                lines.append(indent + line)
            else:
                lines += textwrap.wrap(
                    line, width, initial_indent=indent, subsequent_indent=indent
                ) or [""]
        return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """A parser that names one mistake in one line, and says where the help is."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": _HelpFormatter, **arguments})

    def parse_known_args(  # type: ignore[override]  # the overloads of typeshed
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the arguments. An unknown one is an error here, where its command is known."""
        args = self._join_values(sys.argv[1:] if args is None else args)
        self._check_command(args)
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._describe_unknown(unknown, args))
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Print the mistake and end with the exit code of wrong usage."""
        if message.endswith("expected one argument"):
            message += " (write --name=VALUE if it begins with a dash)"
        self.exit(2, f"{self.prog}: error: {message}\nSee {self.prog} -h\n")

    def _join_values(self, args: Sequence[str]) -> list[str]:
        """Join `--args` and a value that begins with a dash, such as `-Depth`, to one argument."""
        joined: list[str] = []
        # Only the parser of the command knows its options.
        if "--args" not in self._option_string_actions:
            return list(args)
        for argument in args:
            is_value = argument.startswith("-") and not self._is_option(argument)
            if joined and joined[-1] == "--args" and is_value:
                joined[-1] = f"--args={argument}"
            else:
                joined.append(argument)
        return joined

    def _is_option(self, argument: str) -> bool:
        return argument == "--" or argument.partition("=")[0] in self._option_string_actions

    def _check_command(self, args: Sequence[str]) -> None:
        """Report a wrong command in one line: argparse would list every command."""
        if self._subparsers is None:
            return
        (action,) = self._subparsers._group_actions
        commands: dict[str, Any] = dict(action.choices or {})
        at = next((at for at, word in enumerate(args) if not word.startswith("-")), len(args))
        if at == len(args) or args[at] in commands:
            return
        if any(word not in self._option_string_actions for word in args[:at]):
            self.error(f"{args[at]!r} is not a command (options follow the command)")
        if at == 0:
            self.error(f"{args[at]!r} is not a command{_did_you_mean(args[at], commands)}")

    def _describe_unknown(self, unknown: list[str], args: Sequence[str]) -> str:
        text = f"unrecognized arguments: {' '.join(unknown)}"
        if self._subparsers is not None:
            return f"{text} (options follow the command)"
        if unknown[0].startswith("-"):
            name = unknown[0].partition("=")[0]
            return text + _did_you_mean(name, self._option_string_actions)
        if any(argument.startswith("--args") for argument in args):
            return f"{text} (put quotes around a text with spaces: --args '-Depth 2')"
        return f"{text} (run-many takes several machines)" if self.prog.endswith(" run") else text


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    import difflib

    similar = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" (did you mean {similar[0]}?)" if similar else ""
