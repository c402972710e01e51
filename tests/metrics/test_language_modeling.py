"""Figures of masked language models against scikit-learn on the single tokens, and on models that are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, log_loss

from tfft.core.errors import DataError
from tfft.metrics.language_modeling import LanguageModelingMetrics, language_modeling_metrics

VOCABULARY = 13


def row_sums(row_of_token: np.ndarray, values: np.ndarray, rows: int) -> np.ndarray:
    return np.bincount(row_of_token, values, minlength=rows).astype(np.float32)


def test_figures_are_those_of_the_single_tokens() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(scale=3, size=(400, VOCABULARY))
    labels = np.where(random.random(400) < 0.5, logits.argmax(axis=1), random.integers(0, VOCABULARY, 400))
    rows = np.sort(random.integers(0, 60, 400))  # of very different sizes; some may have none
    log_p = log_softmax(logits, axis=1)
    found = language_modeling_metrics(
        row_sums(rows, -log_p[np.arange(400), labels], 61),
        row_sums(rows, logits.argmax(axis=1) == labels, 61),
        row_sums(rows, np.ones(400), 61),
    )
    loss = log_loss(labels, np.exp(log_p), labels=np.arange(VOCABULARY))
    assert (found.rows, found.tokens) == (61, 400)
    assert found.loss == pytest.approx(loss, rel=1e-6)
    assert found.perplexity == pytest.approx(2 ** (loss / math.log(2)), rel=1e-5)
    assert found.accuracy == pytest.approx(accuracy_score(labels, logits.argmax(axis=1)))


def test_a_model_that_knows_nothing_is_as_perplexed_as_the_vocabulary_is_large() -> None:
    tokens = np.array([3, 0, 7], np.float32)
    found = language_modeling_metrics(tokens * math.log(30522), np.zeros(3), tokens)
    assert found.perplexity == pytest.approx(30522, rel=1e-5)
    assert found.scalars() == {"loss": found.loss, "perplexity": found.perplexity, "accuracy": 0.0}


def test_many_rows_add_up_exactly() -> None:
    rows = 20_000_000  # where a sum in float32 stops at 2**24
    ones = np.broadcast_to(np.float32(1), rows)
    assert language_modeling_metrics(ones, ones, ones).tokens == rows


def test_a_loss_beyond_floats_is_infinite_perplexity() -> None:
    assert language_modeling_metrics(np.array([1e6]), np.zeros(1), np.ones(1)).perplexity == math.inf
    assert math.isnan(language_modeling_metrics(np.array([math.nan]), np.zeros(1), np.ones(1)).perplexity)


def test_no_token_is_an_error() -> None:
    for rows in (0, 3):
        with pytest.raises(DataError, match=f"None of the {rows} rows"):
            language_modeling_metrics(np.zeros(rows), np.zeros(rows), np.zeros(rows))


def test_plain_data_and_table() -> None:
    found = language_modeling_metrics(np.array([2.0, 4.0]), np.array([1, 0]), np.array([1, 2]))
    assert LanguageModelingMetrics(**json.loads(json.dumps(found.to_dict()))) == found
    (table,) = found.tables()
    assert dict(zip(table.columns, table.rows[0], strict=True)) == {
        "tokens": "3", "loss (nats)": "2.0000", "perplexity": "7.39", "accuracy": "0.333",
    }  # fmt: skip
