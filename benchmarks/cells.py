"""Runs that are processes of their own, kept in one JSON file, so that a script goes on where it was stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def fill(script: str, cells: Iterable[tuple[str, dict[str, Any]]], target: Path) -> dict[str, Any]:
    """Runs what the file lacks, with `--one` and the cell as JSON; a run that fails is named and left out.

    Args:
        script: The script that runs a cell and prints its figures as its last line.
        cells: Name and options of each run.
        target: The file.

    Returns:
        What the file holds.
    """
    found: dict[str, Any] = json.loads(target.read_text()) if target.is_file() else {}
    for name, cell in cells:
        if name in found:
            continue
        command = [sys.executable, str(Path(script).resolve()), "--one", json.dumps(cell)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"{name}: {(done.stderr.strip().splitlines() or ['no message'])[-1][:300]}", flush=True)
            continue
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"{name}: {json.dumps(found[name])}", flush=True)
        target.write_text(json.dumps(found, indent=1) + "\n")
    return found
