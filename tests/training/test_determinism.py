"""The same seed gives the same weights, to the bit, in any process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

import tfft

PROGRAM = """
import hashlib, json, sys
import numpy as np
import tfft
model = tfft.fit(sys.argv[1], quiet=True, **json.loads(sys.argv[2]))
print(hashlib.sha256(b"".join(np.asarray(item).tobytes() for item in model.keras_model.weights)).hexdigest())
"""


def test_a_fresh_process_gives_the_same_weights_as_one_that_did_much_else(
    opinions: pd.DataFrame, options: dict[str, Any], full_run: tfft.FineTunedModel, digest: Any, tmp_path: Path
) -> None:
    opinions.to_csv(tmp_path / "opinions.csv", index=False)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "opinions.csv"), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == digest(full_run.keras_model)


def test_a_run_leaves_the_kernels_of_the_process_as_they_were(full_run: tfft.FineTunedModel) -> None:
    from tensorflow.python.framework import config as framework_config

    assert full_run.record.plan["jit_compile"] is False, "deterministic kernels were on"
    assert not framework_config.is_op_determinism_enabled()
