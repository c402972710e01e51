"""Micro-batches and replicas add up to the batch in one piece: against NumPy, with a loss for each token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import token_steps

#: Rounding of float32 in 20 steps.
ROUNDING = 1e-6


@pytest.mark.parametrize("micro_batch_size", [*range(1, token_steps.ROWS + 1), None])
def test_any_micro_batch_size_takes_the_steps_of_the_whole_batch(micro_batch_size: int | None) -> None:
    start = token_steps.initial_table()
    expected_losses, expected = token_steps.in_numpy(start)
    losses, found = token_steps.in_steps(start, micro_batch_size)
    assert np.ptp(expected_losses) > 0.1
    np.testing.assert_allclose(losses, expected_losses, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("micro", ["1", "2", "3", "None"])
def test_two_replicas_in_micro_batches_take_the_same_steps(found: dict[str, Any], micro: str) -> None:
    expected_losses, expected = token_steps.in_numpy(token_steps.initial_table())
    np.testing.assert_allclose(found[f"tokens/{micro}/losses"], expected_losses, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(found[f"tokens/{micro}/table"], expected, rtol=ROUNDING, atol=ROUNDING)
