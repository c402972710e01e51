"""Run in a process of its own by test_peft_contract: adapters made from saved states on freshly built bases.

Argument: a folder with the states, where the outputs go.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from tiny_bases import tiny
from tiny_training import added, config_for


def main() -> None:
    folder = Path(sys.argv[1])
    states: dict[str, dict[str, np.ndarray]] = {}
    with np.load(folder / "states.npz") as saved:
        for key, value in saved.items():
            method, base, name = key.split(" ", 2)
            states.setdefault(f"{method} {base}", {})[name] = value
    # Keras counts the layers of a process: here they get other numbers.
    tiny("lstm")
    found: dict[str, Any] = {}
    for case in (folder / "cases.txt").read_text("utf-8").splitlines():
        method, base = case.split()
        made = tiny(base)
        adapter = added(made, method, config_for(method, base), seed=6)
        adapter.load_state(states.get(case, {}))
        found[case] = made()
    np.savez(folder / "found.npz", **found)


if __name__ == "__main__":
    main()
