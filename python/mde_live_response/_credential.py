"""Calls the caller's own credential, on threads that hold no Rust frame when the interpreter ends. Private."""

import threading

THREAD_NAME = "mde-live-response-credential"


def fetch(credential, scope, resolve):
    """Ask `credential` for a token on a thread of its own, and give what comes to `resolve(value, exception)`."""

    def work():
        try:
            value = ask(credential, scope)
        except BaseException as error:
            resolve(None, error)
        else:
            resolve(value, None)

    threading.Thread(target=work, name=THREAD_NAME, daemon=True).start()


def ask(credential, scope):
    """Call it in the way that it has: azure-identity's two, else as a function."""
    for method in ("get_token", "get_token_info"):
        if hasattr(credential, method):
            return getattr(credential, method)(scope)
    return credential()


def describe(answer):
    """Give the token and its expiry, where it tells one, of a str or of azure-identity's answers."""
    if isinstance(answer, str):
        return answer, None
    token, expires_on = getattr(answer, "token", None), getattr(answer, "expires_on", None)
    if not isinstance(token, str):
        raise TypeError(f"the credential gave a {type(answer).__name__}, not a token")
    return token, None if expires_on is None else float(expires_on)


def start_loop():
    """Run an event loop on a thread of its own, for a credential's coroutines: the caller's loop may be blocked."""
    import asyncio

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=THREAD_NAME, daemon=True).start()
    return loop
