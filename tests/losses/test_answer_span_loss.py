"""The loss of answer spans, against its formula in NumPy."""

from __future__ import annotations

import numpy as np

from tfft.losses.answer_span import AnswerSpanLoss


def test_it_is_the_mean_of_both_cross_entropies_over_the_candidates() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (4, 7, 2)).astype("float32")
    candidates = random.random((4, 7)) < 0.6
    candidates[:, 0] = True
    true = np.array([[0, 0], *([place[0], place[-1]] for place in map(np.flatnonzero, candidates[1:]))])
    expected = []
    for row in range(4):
        places = np.flatnonzero(candidates[row])
        total = 0.0
        for end in (0, 1):
            chances = np.exp(logits[row, places, end].astype(np.float64))
            total -= np.log(chances[places.tolist().index(true[row, end])] / chances.sum()) / 2
        expected.append(total)
    masked = np.where(candidates[..., None], logits, np.float32(-1e9))
    np.testing.assert_allclose(AnswerSpanLoss(reduction=None)(true, masked), expected, rtol=1e-5)
