"""Calls the caller's own code, on threads that hold no Rust frame when the interpreter ends. Private."""

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


async def guard(awaitable):
    """Await, and give value and exception: a loop's task lets a SystemExit out of the loop, which would end it."""
    try:
        return await awaitable, None
    except BaseException as error:
        return None, error


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

    def work():
        try:
            loop.run_forever()
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    threading.Thread(target=work, name=THREAD_NAME, daemon=True).start()
    return loop
