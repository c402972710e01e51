"""Memory that runs out in a step ends the run with one line that says what would help."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import tensorflow as tf

import tfft
from tfft.core.errors import TrainingError
from tfft.training.step import TrainStep


def test_memory_that_runs_out_is_answered_with_advice(
    opinions: pd.DataFrame, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = TrainStep.__call__

    def second_step_fails(self: TrainStep, batch: Any, step: int) -> tuple[float, float]:
        if step == 1:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return taken(self, batch, step)

    monkeypatch.setattr(TrainStep, "__call__", second_step_fails)
    with pytest.raises(TrainingError) as caught:
        tfft.fit(opinions, quiet=True, **options)
    message = str(caught.value)
    assert message.startswith("Memory ran out in step 2, with 8 rows of 6 tokens at once")
    assert "micro_batch_size" in message
    assert "gradient_checkpointing" in message
    assert "\n" not in message
