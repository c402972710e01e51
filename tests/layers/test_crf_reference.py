"""Likelihood, gradients and best sequences are those of TensorFlow Addons, which people had before."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfft.layers.crf import Potentials, crf_decode, crf_log_likelihood

pytestmark = pytest.mark.reference

ROOT = Path(__file__).parents[2]
ROWS, LENGTH, TAGS = 16, 30, 9
PROGRAM = """
import os, sys, warnings
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tf_keras
sys.modules["keras"] = tf_keras  # what Addons means by it
warnings.filterwarnings("ignore")
import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

given = np.load(sys.argv[1])
emissions, transitions = tf.constant(given["emissions"]), tf.constant(given["transitions"])
with tf.GradientTape() as tape:
    tape.watch((emissions, transitions))
    likelihood, _ = tfa.text.crf_log_likelihood(emissions, given["tags"], given["lengths"], transitions)
gradients = tape.gradient(likelihood, (emissions, transitions))
tags, score = tfa.text.crf_decode(emissions, transitions, given["lengths"])
np.savez(sys.argv[2], likelihood=likelihood, emissions=gradients[0], transitions=gradients[1], tags=tags, score=score)
"""


def addons() -> str:
    """The interpreter of the environment that has TensorFlow Addons."""
    python = os.environ.get("TFFT_ADDONS_PYTHON", str(ROOT / ".venv/addons/bin/python"))
    if not Path(python).exists():
        pytest.fail(f"{python} does not exist: run `make test-reference`, or set TFFT_ADDONS_PYTHON.")
    return python


def test_the_field_is_that_of_tensorflow_addons(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    given = {
        "emissions": random.normal(0, 2, (ROWS, LENGTH, TAGS)).astype("float32"),
        "transitions": random.normal(0, 2, (TAGS, TAGS)).astype("float32"),
        "tags": random.integers(0, TAGS, (ROWS, LENGTH)).astype("int32"),
        "lengths": random.integers(1, LENGTH + 1, ROWS).astype("int32"),
    }
    np.savez(tmp_path / "given.npz", **given)
    command = [addons(), "-c", PROGRAM, str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
    subprocess.run(command, check=True, capture_output=True)
    theirs = np.load(tmp_path / "found.npz")

    emissions, transitions = tf.constant(given["emissions"]), tf.constant(given["transitions"])
    mask, nothing = tf.sequence_mask(given["lengths"], LENGTH), tf.zeros(TAGS)
    with tf.GradientTape() as tape:
        tape.watch((emissions, transitions))
        potentials = Potentials(emissions, mask, transitions, nothing, nothing)
        likelihood = crf_log_likelihood(potentials, given["tags"])
    gradients = tape.gradient(likelihood, (emissions, transitions))
    tags, score = crf_decode(potentials)
    np.testing.assert_allclose(likelihood, theirs["likelihood"], rtol=1e-5)
    np.testing.assert_allclose(gradients[0], theirs["emissions"], atol=1e-5)
    np.testing.assert_allclose(gradients[1], theirs["transitions"], atol=1e-4)
    np.testing.assert_array_equal(tags, np.where(mask, theirs["tags"], 0))
    np.testing.assert_allclose(score, theirs["score"], rtol=1e-5)
