"""Adds saved adapters to a base that is built anew, in a process of its own, and writes its outputs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from tiny_bases import tiny

from tfft.peft.files import add_saved


def main(folder: Path) -> None:
    """Writes the outputs by the name of each directory of an adapter."""
    found: dict[str, Any] = {}
    for directory in sorted(path for path in folder.iterdir() if path.is_dir()):
        base = tiny("bert")
        add_saved(base.base, directory)
        found[directory.name] = base()
    np.savez(folder / "outputs.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
