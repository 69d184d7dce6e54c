"""`AzureCliCredential`: tokens of the user who is signed in to the Azure CLI."""

from __future__ import annotations

from . import _arguments as arguments
from .errors import AuthenticationError, InvalidRequestError

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Any

_SIGN_IN = "sign in: az login"
_MAX_STDERR = 400
"""The number of characters of the standard error output of `az` that an error quotes."""
_TENANT_CHARS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-.")


class Token:
    """A token, and the Unix time when it expires if `az` prints it."""

    __slots__ = ("expires_on", "token")

    def __init__(self, token: str, expires_on: float | None) -> None:
        self.token, self.expires_on = token, expires_on


class AzureCliCredential:
    """Get tokens of the user who is signed in to the Azure CLI with `az login`.

    Meant for interactive use. It runs `az account get-access-token` for every token.
    Page: learn.microsoft.com/cli/azure/account#az-account-get-access-token

    Args:
        tenant_id: the tenant's id or one of its domain names. None: the tenant selected in `az`.
        process_timeout: seconds that one run of `az` may take, more than 0.

    Raises:
        InvalidRequestError: the tenant is neither an id nor a domain name, or the time is not
            more than 0.
    """

    __slots__ = ("__weakref__", "_process_timeout", "_tenant_id")

    def __init__(
        self, tenant_id: str | None = None, *, process_timeout: float | timedelta = 10.0
    ) -> None:
        # On Windows, az is a batch file: cmd.exe would interpret special characters in arguments.
        tenant_id = arguments.text_or_none("tenant_id", tenant_id)
        if tenant_id is not None and not (tenant_id and set(tenant_id) <= _TENANT_CHARS):
            raise InvalidRequestError(f"tenant {tenant_id!r} is neither a tenant id nor a domain")
        process_timeout = arguments.seconds("process_timeout", process_timeout)
        if not process_timeout > 0:
            raise InvalidRequestError(
                f"process_timeout is {process_timeout}; it must be more than 0 seconds"
            )
        self._tenant_id, self._process_timeout = tenant_id, process_timeout

    def __repr__(self) -> str:
        return f"<AzureCliCredential{f' of {self._tenant_id}' if self._tenant_id else ''}>"

    def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> Any:
        """Run `az` and return its token with its expiry.

        Args:
            scopes: one scope.
            claims: the claims of a claims challenge. `az` can satisfy them only by a new sign-in.

        Raises:
            AuthenticationError: `az` is missing, nobody is signed in, it took too long, or claims
                are requested.
        """
        for scope in scopes:
            if not isinstance(scope, str):
                raise arguments.type_error("scopes", "one scope, a str", scope)
        if arguments.text_or_none("claims", claims) is not None:
            raise AuthenticationError(
                "the service requires a token with other claims, "
                "and az returns one only after a new sign-in",
                hint="sign in again: az logout, then az login",
            )
        code, token, stderr_text = self._run_az(*scopes)
        if code is None:
            message = f"az returned no token within {self._process_timeout:g} s"
            raise AuthenticationError(
                message, hint="raise process_timeout, or check whether az waits for input"
            )
        if code:
            raise AuthenticationError(
                f"az returned no token (exit code {code}): {stderr_text}",
                hint=_sign_in_hint(stderr_text),
            )
        if token is None:
            raise AuthenticationError(
                "az printed no token", hint="update the Azure CLI: az upgrade"
            )
        return token

    def _run_az(self, scope: str) -> tuple[int | None, Token | None, str]:
        """Return the exit code (None after a time-out), the token, and the error output of `az`."""
        # This function raises no error once it holds the output: the output may be a token, and
        # a traceback keeps the local variables.
        import shutil
        import subprocess

        az = shutil.which("az")
        if az is None:
            raise AuthenticationError(
                "az, the Azure CLI, is not on the PATH", hint="install it, then run az login"
            )
        command = [az, "account", "get-access-token", "--output", "json", "--scope", scope]
        if self._tenant_id is not None:
            command += ["--tenant", self._tenant_id]
        pipe, timeout = subprocess.PIPE, self._process_timeout
        try:
            process = subprocess.run(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None, None, ""
        except OSError as error:
            raise AuthenticationError(
                f"az could not be started: {error}", hint="reinstall the Azure CLI"
            ) from error
        # The standard output is never quoted: it may be a token.
        return (
            process.returncode,
            _parse_token(process.stdout),
            " ".join(process.stderr.decode(errors="replace").split())[:_MAX_STDERR],
        )


def _sign_in_hint(stderr_text: str) -> str:
    return (
        _SIGN_IN
        if "az login" in stderr_text or "AADSTS" in stderr_text
        else "run it yourself: az account get-access-token"
    )


def _parse_token(printed: bytes) -> Token | None:
    import json

    try:
        output = json.loads(printed)
        token, expires_on = output["accessToken"], output.get("expires_on")
        return Token(str(token), None if expires_on is None else float(expires_on))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
