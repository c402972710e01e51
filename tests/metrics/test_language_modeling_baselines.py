"""The baseline of token frequencies, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfft.data.hidden_tokens import HiddenTokens
from tfft.data.ragged_rows import RaggedRows
from tfft.metrics.language_modeling_baselines import UNIGRAM, UNIGRAM_AND_ORDER, order_baseline, unigram_baseline


def test_figures_are_those_of_smoothed_frequencies() -> None:
    ordinary = np.array([False, True, True, True, True])
    tokens = RaggedRows.from_lengths(np.array([0, 1, 1, 1, 2, 0]), np.array([4, 2]))
    # 0 is no token that is hidden, 4 is never seen: counts 4, 2, 1, 1 with one more each, 8 in all.
    frequencies = HiddenTokens(tokens, tokens, ordinary).frequencies()
    assert frequencies.tolist() == [0, 4 / 8, 2 / 8, 1 / 8, 1 / 8]
    found = unigram_baseline(frequencies, np.array([1, 1, 2, 4]), np.array([2, 0, 2]))[UNIGRAM]
    nats = -(2 * math.log(4 / 8) + math.log(2 / 8) + math.log(1 / 8)) / 4
    assert found.loss == pytest.approx(nats)
    assert found.perplexity == pytest.approx(math.exp(nats))
    assert (found.rows, found.tokens, found.accuracy) == (3, 4, 0.5)


def test_the_more_frequent_order_is_predicted() -> None:
    tokens = unigram_baseline(np.array([0.5, 0.5]), np.array([1]), np.array([1]))[UNIGRAM]
    found = order_baseline(tokens, np.array([1, -1, 1, 0]), np.array([0, -1, 1, 1]))[UNIGRAM_AND_ORDER]
    # Counts 1 and 2 with one more each.
    assert found.pair_loss == pytest.approx(-(math.log(2 / 5) + 2 * math.log(3 / 5)) / 3)
    assert (found.pairs, found.pair_accuracy) == (3, pytest.approx(2 / 3))
    assert (found.loss, found.rows) == (tokens.loss, tokens.rows)
    assert [table.title for table in found.tables()] == ["Masked tokens", "Pairs of segments"]
