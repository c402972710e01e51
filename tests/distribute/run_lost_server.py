"""One process of a test of `tfft.fit` over parameter servers; the chief loses another while variables are made.

Arguments: preset, data file, module and name of the function before which the process is killed, its process id.
Errors of tfft are printed as one line, and end the chief with status 3.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from typing import Any

import tfft
from tfft.core.errors import TfftError

FAILED = 3


def main() -> None:
    preset, data, module_name, name, victim = sys.argv[1:]
    tfft.plan()  # connects; workers and ps never return from here
    module = importlib.import_module(module_name)
    taken = getattr(module, name)

    def after_a_kill(*arguments: Any, **options: Any) -> Any:
        os.kill(int(victim), signal.SIGKILL)
        time.sleep(1.0)  # until the system has closed its connections
        return taken(*arguments, **options)

    setattr(module, name, after_a_kill)
    try:
        tfft.fit(data, task="text_classification", preset=preset, baselines=False, quiet=True, epochs=1)
    except TfftError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(FAILED)
    print("finished", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
