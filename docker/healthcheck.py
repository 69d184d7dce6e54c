"""Ends with 0 if the emulator of this container serves, over HTTP or HTTPS."""

import http.client
import ssl
import sys
import urllib.request

PORT = 8899


def is_healthy(port: int) -> bool:
    """Return whether an emulator answers on this port."""
    # Its certificate may be for any name, and nothing secret is sent.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    direct = urllib.request.ProxyHandler({})
    opener = urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=context))
    for scheme in ("http", "https"):
        try:
            with opener.open(f"{scheme}://127.0.0.1:{port}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        # A server of HTTPS answers HTTP with no status line.
        except (OSError, http.client.HTTPException):
            continue
    return False


if __name__ == "__main__":
    sys.exit(not is_healthy(int(sys.argv[1]) if len(sys.argv) > 1 else PORT))
