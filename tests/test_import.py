"""The modules that `import mde_live_response` loads: they determine how long it takes."""

import subprocess
import sys

import pytest

HEAVY = {"asyncio", "dataclasses", "datetime", "inspect", "json", "logging", "typing", "uuid"}


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def heavy() -> set[str]:
    """The modules that must not be loaded."""
    if sys.version_info < (3, 11):
        # There, asyncio has what marks a coroutine function.
        return HEAVY - loaded_by("import asyncio")
    return HEAVY


def test_the_import_is_light() -> None:
    assert not loaded_by("import mde_live_response") & heavy()


def test_a_command_is_light() -> None:
    statement = "import mde_live_response as m; m.Command.put_file('a').to_dict()"
    assert not loaded_by(statement) & heavy()


@pytest.mark.parametrize("module", ["emulator", "pytest_plugin", "display", "_types", "__main__"])
def test_rarely_used_modules_are_loaded_on_demand(module: str) -> None:
    assert f"mde_live_response.{module}" not in loaded_by("import mde_live_response")


def test_type_aliases_are_loaded_on_demand() -> None:
    code = "from mde_live_response import Commands, Credential, SupportsGetToken, Reason, Cloud"
    assert "mde_live_response._types" in loaded_by(code)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import mde_live_response

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        mde_live_response.nothing  # type: ignore[attr-defined]  # noqa: B018
    assert set(mde_live_response.__all__) <= set(dir(mde_live_response))
