"""Bring a local tool to a machine, run it there, and collect its output as evidence.

python push_tool.py ws-0042 collector.exe
"""

import sys
from pathlib import Path

from mde_live_response import Command, LiveResponseClient, SessionResult
from mde_live_response.evidence import verify

OUTPUT = r"C:\Windows\Temp\collected.zip"
CODE = r"""
param($Tool, $Output)
$folder = "$env:ProgramData\Microsoft\Windows Defender Advanced Threat Protection\Downloads"
& "$folder\$Tool" --out $Output
exit $LASTEXITCODE
"""


def collect(client: LiveResponseClient, machine: str, tool: Path, evidence: Path) -> SessionResult:
    """Run the tool, save what it wrote and what it printed, and check the folder."""
    put = Command.put_local(tool)
    run = Command.run_inline(CODE, ["-Tool", put.params["FileName"], "-Output", OUTPUT])
    get = Command.get_file(OUTPUT)
    result = client.run(
        machine, [put, run, get], "case 42: collect", save_to=evidence, save_transcripts=True
    )
    assert verify(evidence).ok
    return result.raise_for_status()


if __name__ == "__main__":
    with LiveResponseClient() as client:
        result = collect(client, sys.argv[1], Path(sys.argv[2]), Path("evidence"))
    for file in result.files:
        print(file.path, file.size, file.sha256)
