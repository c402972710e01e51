"""Options of decoding, lengths and penalties worked out by hand, and the likeliest tokens against a sort."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.decoding.next_token import BLOCK, likeliest, next_token
from tfft.decoding.options import BeamOptions, LengthOptions, SamplingOptions, SpecialTokens

TOKENS = SpecialTokens(pad=0, start=1, end=2)


@pytest.mark.parametrize(("ratio", "offset", "most"), [("2", 10, 256), ("0.29", 0, 100), ("1.1", -3, 50), ("0", 7, 5)])
def test_limits_are_those_of_exact_fractions(ratio: str, offset: int, most: int) -> None:
    sources = np.arange(300)
    got = LengthOptions(ratio=float(ratio), offset=offset, most=most).limits(tf.constant(sources))
    wanted = [min(max(int(Fraction(ratio) * length + offset), 0), most) for length in sources.tolist()]
    assert got.numpy().tolist() == wanted


def test_the_penalty_counts_the_end() -> None:
    assert LengthOptions(most=3, penalty=1.0).penalties().tolist() == pytest.approx([1, 7 / 6, 8 / 6, 9 / 6])
    assert LengthOptions(most=3, penalty=0.0).penalties().tolist() == [1, 1, 1, 1]
    assert LengthOptions(most=7, penalty=2.0).penalties()[7] == pytest.approx((13 / 6) ** 2)


def test_tokens_that_are_never_chosen() -> None:
    assert SpecialTokens(pad=0, start=1, end=2, banned=[4]).never(7) == [0, 1, 4]
    assert SpecialTokens(pad=0, start=2, end=2).never(4) == [0]
    assert SpecialTokens(pad=2, start=2, end=2).never(4) == []


REFUSED = {
    "below 0": (SpecialTokens, {"pad": -1, "start": 1, "end": 2}, "pad=-1"),
    "no end": (SpecialTokens, {"pad": 0, "start": 1, "end": 2, "banned": [2]}, "no sequence could end"),
    "no room": (LengthOptions, {"most": 0}, "most=0"),
    "ratio": (LengthOptions, {"ratio": -1.0}, "ratio=-1"),
    "no number": (LengthOptions, {"ratio": float("nan")}, "ratio=nan"),
    "penalty": (LengthOptions, {"penalty": -0.5}, "penalty=-0.5"),
    "no beams": (BeamOptions, {"beams": 0}, "beams=0"),
    "too many": (BeamOptions, {"beams": 3, "n_best": 4}, "from 1 to 3"),
    "none": (BeamOptions, {"n_best": 0}, "n_best=0"),
    "cold": (SamplingOptions, {"temperature": 0.0}, "use greedy search"),
    "top_k": (SamplingOptions, {"top_k": 0}, "top_k=0"),
    "top_p": (SamplingOptions, {"top_p": 1.5}, "top_p=1.5"),
    "none of top_p": (SamplingOptions, {"top_p": 0.0}, "top_p=0"),
    "samples": (SamplingOptions, {"samples": 0}, "samples=0"),
}


@pytest.mark.parametrize(("made", "arguments", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_impossible_options_are_refused(made: Any, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(**arguments)


def test_logits_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"name the id 2, but the model gives logits of 2 tokens"):
        next_token(tf.zeros([3, 2]), TOKENS)
    with pytest.raises(ConfigError, match="shape"):
        next_token(tf.zeros([3, 1, 5]), TOKENS)
    with pytest.raises(ConfigError, match="static vocabulary_size"):
        tf.function(lambda x: next_token(x, TOKENS), input_signature=[tf.TensorSpec([None, None])], autograph=False)(
            tf.zeros([3, 5])
        )


@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_likeliest_are_those_of_a_stable_sort(xla: bool) -> None:
    random = np.random.default_rng(0)
    never = [0, 5, BLOCK + 1]
    for size, count in [(9 * BLOCK + 5, 3)] if xla else [(9 * BLOCK + 5, 3), (7 * BLOCK, 1), (BLOCK + 2, 3)]:
        logits = np.round(random.normal(size=(50, size)) * 3).astype("float32")  # many equals
        logits[:5] = -np.inf
        logits[:5, 3] = 1  # one that is possible, or none
        logits[0] = -np.inf
        run = tf.function(lambda x, c=count: likeliest(x, never, c), jit_compile=xla)
        values, ids = (part.numpy() for part in run(tf.constant(logits)))
        masked = np.where(np.isin(np.arange(size), never), -np.inf, logits)
        order = np.argsort(-masked, axis=1, kind="stable")[:, :count]
        np.testing.assert_array_equal(values, np.take_along_axis(masked, order, 1))
        np.testing.assert_array_equal(ids[values > -np.inf], order[values > -np.inf])
        assert ((ids >= 0) & (ids < size)).all()
