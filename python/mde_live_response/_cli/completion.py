"""The command `completion`: a script that completes this command line in a shell.

The script contains the commands and their options, so that a completion starts no process.
"""

from __future__ import annotations

import argparse

from mde_live_response._cli.exit_codes import OK
from mde_live_response._cli.options import add_command
from mde_live_response._cli.output import print_document, print_text

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["add_completion"]

_PROGRAM = "mde-live-response"

_Words = list[tuple[str, str]]
"""The words that may follow a command, each with what it does."""

_BASH = """\
_mde_live_response() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" path="" words="" part
    for part in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $part" in
{paths}
        esac
    done
    case "$path" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _mde_live_response mde-live-response
"""

_ZSH = """\
#compdef mde-live-response
_mde_live_response() {{
    local path_="" part
    local -a described
    for part in "${{(@)words[2,CURRENT-1]}}"; do
        case "$path_ $part" in
{paths}
        esac
    done
    case "$path_" in
{words}
    esac
    _describe -o 'word' described || _files
}}
if [ "$funcstack[1]" = _mde_live_response ]; then
    _mde_live_response "$@"
else
    compdef _mde_live_response mde-live-response
fi
"""


def add_completion(commands: Any, build_parser: Callable[[], argparse.ArgumentParser]) -> None:
    """Add `completion` to the command line."""

    def print_script(options: argparse.Namespace) -> int:
        script = _SCRIPTS[options.shell](dict(_collect(build_parser(), "")))
        if options.json:
            print_document({"shell": options.shell, "script": script})
        else:
            print_text(script.rstrip("\n"))
        return OK

    completion = add_command(
        commands,
        "completion",
        print_script,
        help="print a script that completes this command line in your shell",
        example="source <(mde-live-response completion bash)\n  mde-live-response completion zsh > "
        '"${fpath[1]}/_mde-live-response"\n  mde-live-response completion fish > \\\n'
        "      ~/.config/fish/completions/mde-live-response.fish",
    )
    completion.add_argument("shell", choices=sorted(_SCRIPTS))


def _collect(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, _Words]]:
    """Yield each command, as its words after the program, with the words that may follow it."""
    words: _Words = []
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                words.append((choice.dest, _first_line(choice.help)))
                yield from _collect(action.choices[choice.dest], f"{path} {choice.dest}")
        elif action.option_strings:
            words += [(option, _first_line(action.help)) for option in action.option_strings]
        elif action.choices is not None:
            words += [(str(choice), "") for choice in action.choices]
    yield path, words


def _first_line(text: str | None) -> str:
    """Return the start of a help text, without what a shell would interpret."""
    start = (text or "").split(";")[0].split(". ")[0]
    return "".join(c for c in start if c not in "'\"`$\\:%()[]")


def _paths(words: dict[str, _Words]) -> str:
    return "\n".join(f'            "{path}") path="{path}" ;;' for path in words if path)


def _bash(words: dict[str, _Words]) -> str:
    cases = "\n".join(
        f'        "{path}") words="{" ".join(word for word, _ in follow)}" ;;'
        for path, follow in words.items()
    )
    return _BASH.format(paths=_paths(words), words=cases)


def _zsh(words: dict[str, _Words]) -> str:
    cases = "\n".join(
        f'        "{path}") described=({" ".join(_zsh_word(*pair) for pair in follow)}) ;;'
        for path, follow in words.items()
    )
    return _ZSH.format(paths=_paths(words).replace(" path=", " path_="), words=cases)


def _zsh_word(word: str, what: str) -> str:
    return f"'{word}:{what}'" if what else f"'{word}'"


def _fish(words: dict[str, _Words]) -> str:
    lines = []
    for path, follow in words.items():
        parts = path.split()
        # A group such as `library` is followed by one of its commands.
        group = [word for word, _ in follow if not word.startswith("-")]
        seen = [f"__fish_seen_subcommand_from {part}" for part in parts]
        unseen = [f"not __fish_seen_subcommand_from {' '.join(group)}"] if group else []
        condition = "; and ".join(seen + unseen) or "true"
        for word, what in follow:
            if word.startswith("--"):
                kind = f"-l {word[2:]}"
            elif word.startswith("-"):
                kind = f"-s {word[1:]}"
            else:
                kind = f"-f -a {word}"
            described = f" -d '{what}'" if what else ""
            lines.append(f"complete -c {_PROGRAM} -n '{condition}' {kind}{described}")
    return "\n".join(lines)


_SCRIPTS: dict[str, Callable[[dict[str, _Words]], str]] = {
    "bash": _bash,
    "fish": _fish,
    "zsh": _zsh,
}
