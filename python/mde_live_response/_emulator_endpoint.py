"""The environment variables and the client options with which a client reaches an emulator."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ._native import ClientSecretCredential, Limits, Rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .emulator import Emulator


PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
CA_VARIABLES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Beside REQUESTS_CA_BUNDLE: what OpenSSL, Go and rustls read, what curl reads, and Node."""


def environment(emulator: Emulator) -> dict[str, str]:
    """Return the environment variables for a child process."""
    env = {
        "MDE_LIVE_RESPONSE_ENDPOINT": emulator.url,
        "AZURE_TENANT_ID": emulator.tenant_id,
        "AZURE_CLIENT_ID": emulator.client_id,
        "AZURE_CLIENT_SECRET": emulator.client_secret,
        "AZURE_AUTHORITY_HOST": emulator.login_url,
    }
    if emulator.ca_bundle is not None:
        env["REQUESTS_CA_BUNDLE"] = emulator.ca_bundle
    if emulator.proxy_url is not None and emulator.ca_bundle is not None:
        # Programs differ in which one they read, and some prefer the lower case.
        env |= dict.fromkeys(("HTTPS_PROXY", "https_proxy"), emulator.proxy_url)
        env |= dict.fromkeys(CA_VARIABLES, emulator.ca_bundle)
    # With a proxy in the environment, requests to loopback would go to the proxy.
    if any(name.lower() in PROXY_VARIABLES for name in (*os.environ, *env)):
        direct = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
        env["NO_PROXY"] = ",".join(filter(None, [direct, "127.0.0.1", "localhost", "::1"]))
    if emulator.proxy_url is not None:
        env["no_proxy"] = env["NO_PROXY"]
    return env


def client_options(emulator: Emulator, limits: Limits, speed: float) -> dict[str, Any]:
    """Return the LiveResponseClient arguments for an emulator."""
    credential = ClientSecretCredential(
        emulator.tenant_id, emulator.client_id, emulator.client_secret, authority=emulator.login_url
    )
    options: dict[str, Any] = {"credential": credential, "endpoint": emulator.url, "proxy": False}
    options["limits"] = scaled(limits, speed)
    if emulator.ca_bundle is not None:
        options["ca_bundle"] = emulator.ca_bundle
    return options


def scaled(limits: Limits, speed: float) -> Limits:
    """Return the limits in wall time, which is the time of the client."""

    def scale(rates: Sequence[Rate]) -> list[Rate]:
        return [Rate(rate.count, rate.per / speed) for rate in rates]

    return Limits(
        submit=scale(limits.submit),
        read=scale(limits.read),
        sessions=limits.sessions,
        queue_time=limits.queue_time / speed,
        script_time=limits.script_time / speed,
        settle_time=limits.settle_time / speed,
        upload_size=limits.upload_size,
    )
