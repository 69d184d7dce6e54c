"""Tokens of whoever is signed in to the Azure CLI."""

from __future__ import annotations

from .errors import AuthenticationError, InvalidRequestError

TYPE_CHECKING = False  # `typing` is most of what an import would cost
if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Any

_SIGN_IN = "sign in: az login"
_MAX_STDERR = 400
"""Characters of what `az` said that go into an error."""


_TENANT_CHARS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-.")


class Token:
    """A token and the Unix time of its end, where `az` tells it."""

    __slots__ = ("expires_on", "token")

    def __init__(self, token: str, expires_on: float | None) -> None:
        self.token, self.expires_on = token, expires_on


class AzureCliCredential:
    """Get tokens of whoever is signed in to the Azure CLI by `az login`: for people at a desk.

    It runs `az account get-access-token` for every token.
    Its page: learn.microsoft.com/cli/azure/account#az-account-get-access-token

    Args:
        tenant_id: the tenant's id or one of its domain names; None: that which `az` has chosen.
        process_timeout: seconds for one run of `az`, more than 0.

    Raises:
        InvalidRequestError: the tenant is neither an id nor a domain name, or the time is not more than 0.
    """

    __slots__ = ("__weakref__", "_process_timeout", "_tenant_id")

    def __init__(
        self, tenant_id: str | None = None, *, process_timeout: float | timedelta = 10.0
    ) -> None:
        # On Windows az is a batch file, whose arguments a shell reads again.
        if tenant_id is not None and not (tenant_id and set(tenant_id) <= _TENANT_CHARS):
            raise InvalidRequestError(f"tenant {tenant_id!r} is neither a tenant's id nor a domain")
        if not isinstance(process_timeout, (int, float)):
            process_timeout = process_timeout.total_seconds()
        if not process_timeout > 0:
            raise InvalidRequestError(
                f"process_timeout is {process_timeout}; it takes seconds, more than 0"
            )
        self._tenant_id, self._process_timeout = tenant_id, process_timeout

    def __repr__(self) -> str:
        return f"<AzureCliCredential{f' of {self._tenant_id}' if self._tenant_id else ''}>"

    def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> Any:
        """Run `az`, and give its token with its expiry.

        Args:
            scopes: one scope.
            claims: those of a claims challenge, which `az` can meet by a new sign-in alone.

        Raises:
            AuthenticationError: `az` is missing, nobody is signed in, it took too long, or claims are asked for.
        """
        if claims is not None:
            raise AuthenticationError(
                "the service asks for a token with other claims, which az gives after a new sign-in alone",
                hint="sign in anew: az logout, then az login",
            )
        code, token, stderr_text = self._run_az(*scopes)
        if code is None:
            message = f"az gave no token within {self._process_timeout:g} s"
            raise AuthenticationError(
                message, hint="raise process_timeout, or see whether az waits for you"
            )
        if code:
            raise AuthenticationError(
                f"az gave no token (exit code {code}): {stderr_text}",
                hint=_sign_in_hint(stderr_text),
            )
        if token is None:
            raise AuthenticationError(
                "az printed no token", hint="update the Azure CLI: az upgrade"
            )
        return token

    def _run_az(self, scope: str) -> tuple[int | None, Token | None, str]:
        """Give its exit code, None when time was over; its token; what it complained of.

        Nothing is raised where a local holds what it printed: that may be a token.
        """
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
                f"az could not be run: {error}", hint="reinstall the Azure CLI"
            ) from error
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
