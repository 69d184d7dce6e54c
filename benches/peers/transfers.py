"""A GetFile of 1 GiB: to disk with its hash, and streamed; plain and with TLS."""

import hashlib
import json
import os
import resource
import subprocess
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path
from ssl import create_default_context

from common import our_client

PIECE = 1 << 20


def link(there):
    url = f"{there['url']}/api/machineactions/{there['file_action_id']}"
    request = urllib.request.Request(
        f"{url}/GetLiveResponseResultDownloadLink(index=0)",
        headers={"Authorization": f"Bearer {there['token']}"},
    )
    context = create_default_context(cafile=there.get("ca_bundle"))
    with urllib.request.urlopen(request, context=context) as answer:
        return json.load(answer)["value"]


def cost(work):
    """Return the seconds that `work` takes, and the CPU of this process and its children."""

    def cpu():
        both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, both))

    before, started = cpu(), time.perf_counter()
    work()
    return [time.perf_counter() - started, cpu() - before]


def with_ours(there, target):
    if "ca_bundle" in there:
        os.environ["SSL_CERT_FILE"] = there["ca_bundle"]
    with our_client(there) as client:
        session = client.session(there["file_action_id"])
        session.refresh()
        if target:
            return cost(lambda: session.download(0, target))
        return cost(lambda: [None for _ in session.stream(0)])


def with_requests(there, target):
    import requests

    def work():
        digest, unpack = hashlib.sha256(), zlib.decompressobj(zlib.MAX_WBITS | 16)
        with (
            requests.get(url, stream=True, verify=there.get("ca_bundle", True)) as answer,
            Path(target or os.devnull).open("wb") as file,
        ):
            answer.raise_for_status()
            for packed in answer.raw.stream(PIECE, decode_content=False):
                piece = unpack.decompress(packed)
                digest.update(piece)
                if target:
                    file.write(piece)
        digest.hexdigest()

    url = link(there)
    return cost(work)


def with_curl(there, target):
    save = f"| tee {target} " if target else ""
    certificate = f"--cacert {there['ca_bundle']} " if "ca_bundle" in there else ""
    line = f"curl -fsS --noproxy '*' {certificate}'{link(there)}' | gunzip {save}| sha256sum"
    command = ["bash", "-o", "pipefail", "-c", line]
    return cost(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))


def contenders(server, to_disk):
    """Return what measures each contender in an emulator: seconds, and seconds of CPU."""

    def measured_by(fetch):
        def measure(there):
            with tempfile.TemporaryDirectory() as folder:
                return fetch(there[server], str(Path(folder) / "file") if to_disk else None)

        return measure

    return {
        "ours": measured_by(with_ours),
        "requests, zlib, hashlib": measured_by(with_requests),
        "curl, gunzip, sha256sum": measured_by(with_curl),
    }


WAYS = {
    f"{kind}{way}": contenders(server, to_disk)
    for server, kind in (("files", ""), ("tls_files", "TLS, "))
    for way, to_disk in (("to disk", True), ("streamed", False))
}
