"""The Dask example on a real cluster, whose tasks pass only JSON."""

from __future__ import annotations

import json
import subprocess
import sys

from soar_helpers import PLATFORMS, assert_ran_once, environment, script_output

from mde_live_response.emulator import Emulator

NAMES = [f"ws-{number:04}.example.test" for number in range(1, 7)]


def test_every_machine_has_its_result_though_a_worker_is_killed() -> None:
    with Emulator(machines=6, speed=20.0) as emulator:
        emulator.on_script("triage.ps1", stdout="found it", duration=200)
        done = subprocess.run(
            [sys.executable, str(PLATFORMS / "dask_cluster.py"), *NAMES],
            env=environment(emulator),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        results = json.loads(done.stdout)
        assert [result["action"]["computer_dns_name"] for result in results] == NAMES
        assert {script_output(result) for result in results} == {"found it"}
        assert_ran_once(emulator, sessions=6)
