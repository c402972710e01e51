"""BLEU, chrF and TER against their formulas, ROUGE against figures of rouge-score, the rest against counts by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import ConfigError, DataError
from tfft.metrics.rouge import longest_common_subsequence, rouge, rouge_words
from tfft.metrics.translation import TranslationMetrics, translation_metrics

REFERENCES = [
    "the cat sat on the mat",
    "there is a small house near the river",
    "she reads books every evening",
    "no",
    "we will go to the market tomorrow morning",
]
PREDICTED = [
    "the cat sat on a mat",
    "there is a little house by the river",
    "she reads books every evening",
    "",
    "tomorrow morning we will go to market",
]


def grams(items: Any, order: int) -> Counter[Any]:
    return Counter(tuple(items[n : n + order]) for n in range(len(items) - order + 1))


def bleu(predicted: list[str], references: list[str]) -> float:
    """Papineni et al. 2002, sections 2.1 to 2.3, over words between spaces."""
    pairs = [(text.split(), true.split()) for text, true in zip(predicted, references, strict=True)]
    precisions = [
        sum((grams(own, order) & grams(true, order)).total() for own, true in pairs)
        / sum(grams(own, order).total() for own, _ in pairs)
        for order in range(1, 5)
    ]
    own, true = (sum(len(pair[n]) for pair in pairs) for n in range(2))
    return 100 * min(1.0, math.exp(1 - true / own)) * math.prod(precisions) ** 0.25


def chrf(predicted: list[str], references: list[str]) -> float:
    """Popović 2015, section 2: mean precision and recall of up to six characters, recall twice as important."""
    pairs = [(text.replace(" ", ""), true.replace(" ", "")) for text, true in zip(predicted, references, strict=True)]
    shares = []
    for order in range(1, 7):
        common = sum((grams(own, order) & grams(true, order)).total() for own, true in pairs)
        shares.append([common / sum(grams(pair[n], order).total() for pair in pairs) for n in range(2)])
    precision, recall = np.mean(shares, axis=0)
    return float(100 * 5 * precision * recall / (4 * precision + recall))


def test_bleu_and_chrf_are_those_of_their_papers() -> None:
    found = translation_metrics(PREDICTED, REFERENCES)
    assert found.bleu == pytest.approx(bleu(PREDICTED, REFERENCES))
    assert found.chrf == pytest.approx(chrf(PREDICTED, REFERENCES))
    assert 20 < found.bleu < 80
    longer = [f"{text} and more of it" for text in REFERENCES]  # no brevity penalty
    assert translation_metrics(longer, REFERENCES).bleu == pytest.approx(bleu(longer, REFERENCES))


def test_ter_counts_edits_and_shifts() -> None:
    # 1 word replaced; 2 replaced; 0; 1 missing; 1 missing and two words shifted together, which is one edit.
    found = translation_metrics(PREDICTED, REFERENCES)
    assert found.ter == pytest.approx(100 * (1 + 2 + 0 + 1 + 2) / sum(len(text.split()) for text in REFERENCES))
    assert translation_metrics(PREDICTED, REFERENCES, with_ter=False).ter is None


def test_signatures_name_what_matters() -> None:
    found = translation_metrics(PREDICTED, REFERENCES, tokenize="char")
    assert list(found.signatures) == ["bleu", "chrf", "ter"]
    assert found.signatures["bleu"].startswith(
        "nrefs:1|bs:1000|seed:12345|case:mixed|eff:no|tok:char|smooth:exp|version:"
    )
    plainly = translation_metrics(PREDICTED, REFERENCES, intervals=False).signatures["bleu"]
    assert plainly.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_intervals_are_those_of_rows_drawn_again() -> None:
    random = np.random.default_rng(5)
    words = np.array(list("abcdefgh"))
    references = [" ".join(random.choice(words, 12)) for _ in range(60)]
    predicted = [" ".join(word if random.random() < 0.8 else "x" for word in text.split()) for text in references]
    found = translation_metrics(predicted, references)
    assert found.intervals is not None
    draws = []
    for _ in range(300):
        rows = random.integers(0, 60, 60)
        draws.append(bleu([predicted[row] for row in rows], [references[row] for row in rows]))
    low, high = np.quantile(draws, [0.025, 0.975])
    interval = found.intervals["bleu"]
    assert interval.mean == pytest.approx(np.mean(draws), abs=0.5)
    assert interval.margin == pytest.approx((high - low) / 2, rel=0.15)
    assert interval.resamples == 1_000
    assert translation_metrics(predicted, references, intervals=False).intervals is None
    assert translation_metrics(predicted[:1], references[:1]).intervals is None
    nothing = translation_metrics(["", ""], ["a b", "c"]).intervals
    assert nothing is not None
    assert (nothing["bleu"].mean, nothing["bleu"].margin) == (0, 0)


#: F1 of ROUGE-1, -2 and -L that rouge-score 0.1.2 gives.
ROUGE = [
    (
        "The quick brown fox jumps over the lazy dog.",
        "A quick brown dog jumped over the lazy fox!",
        0.777778,
        0.375,
        0.555556,
    ),
    ("police killed the gunman", "police kill the gunman", 0.75, 0.333333, 0.75),
    ("police killed the gunman", "the gunman kill police", 0.75, 0.333333, 0.5),
    ("don't stop: 3,000 co-op_members", "do not stop 3000 coop members", 0.285714, 0.0, 0.285714),
    ("word", "word", 1.0, 0.0, 1.0),
    ("", "", 0.0, 0.0, 0.0),
    ("...", "a b", 0.0, 0.0, 0.0),
    ("a a b b a", "a b a b a a", 0.909091, 0.666667, 0.727273),
]


@pytest.mark.parametrize(("reference", "predicted", "one", "two", "longest"), ROUGE)
def test_rouge_is_that_of_rouge_score(reference: str, predicted: str, one: float, two: float, longest: float) -> None:
    assert rouge(predicted, reference) == pytest.approx((one, two, longest), abs=1e-6)


def test_words_of_rouge_are_those_of_any_script() -> None:
    assert rouge_words("Él camino-AQUÍ_no: 3,5 o\u0301 \u4f60\u597d a\u0e01\u0e33") == [
        *("él", "camino", "aquí", "no", "3", "5", "o\u0301"),
        *("\u4f60", "\u597d", "a", "\u0e01", "\u0e33"),
    ]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_longest_common_subsequence_is_that_of_the_table(first: list[str], second: list[str]) -> None:
    table = np.zeros((len(first) + 1, len(second) + 1), int)
    for i, one in enumerate(first):
        for j, two in enumerate(second):
            table[i + 1, j + 1] = table[i, j] + 1 if one == two else max(table[i, j + 1], table[i + 1, j])
    assert longest_common_subsequence(first, second) == table[-1, -1]


def test_figures_counted_by_hand() -> None:
    found = translation_metrics(["a  b a", "b c.", ""], ["a b a", "b d", "e"], loss=2.0, intervals=False)
    assert found.rows == 3
    assert found.exact_match == pytest.approx(1 / 3)
    assert found.distinct_1 == pytest.approx(4 / 6)  # a, b, c and the full stop, of a b a b c .
    assert found.distinct_2 == pytest.approx(4 / 4)  # ab, ba, bc, c.
    assert (found.rouge_1, found.rouge_2, found.rouge_l) == pytest.approx((50.0, 100 / 3, 50.0))
    assert found.perplexity == pytest.approx(math.e**2)
    assert translation_metrics(["a"], ["a"], loss=1e4, intervals=False).perplexity == math.inf
    assert list(found.scalars())[:3] == ["loss", "perplexity", "bleu"]
    empty = translation_metrics([""], ["a"], intervals=False)
    assert (empty.bleu, empty.chrf, empty.ter, empty.distinct_1) == (0, 0, 100, 0)
    assert "loss" not in empty.scalars()


def test_best_and_worst_rows_are_those_of_chrf() -> None:
    sources = ["q", "r", "s", "t", "u"]
    found = translation_metrics(PREDICTED, REFERENCES, sources=sources, shown=2, intervals=False)
    alone = [chrf([text], [true]) if len(true) > 5 else 0 for text, true in zip(PREDICTED, REFERENCES, strict=True)]
    order = np.argsort(alone)[::-1].tolist()
    assert [item.row for item in found.best] == order[:2]
    assert [item.row for item in found.worst] == order[:2:-1]
    assert [item.chrf for item in found.best] == pytest.approx(sorted(alone)[:2:-1])
    assert (found.worst[0].source, found.worst[0].reference, found.worst[0].predicted) == ("t", "no", "")
    few = translation_metrics(PREDICTED[:4], REFERENCES[:4], intervals=False)
    assert len(few.best) == 3
    assert [item.row for item in few.worst] == [3], "no row stands in both tables"


def test_figures_survive_json_and_make_tables() -> None:
    found = translation_metrics(PREDICTED, REFERENCES, sources=REFERENCES, loss=1.5)
    assert TranslationMetrics(**json.loads(json.dumps(found.to_dict()))) == found
    figures, signatures, best, worst = found.tables()
    assert [row[0] for row in figures.rows][:3] == ["BLEU", "chrF", "TER"]
    assert all("±" in row[2] for row in figures.rows[:3])
    assert len(signatures.rows) == 3
    assert [len(row) for row in [*best.rows, *worst.rows]] == [5] * 5


def test_what_cannot_be_computed_is_refused() -> None:
    with pytest.raises(DataError, match="2 references, but 1 predictions"):
        translation_metrics(["a"], ["a", "b"])
    with pytest.raises(DataError, match="0 references"):
        translation_metrics([], [])
    with pytest.raises(DataError, match="2 sources"):
        translation_metrics(["a"], ["a"], sources=["a", "b"])
    with pytest.raises(ConfigError, match="Did you mean 'char'"):
        translation_metrics(["a"], ["a"], tokenize="chars")  # type: ignore[arg-type]


def test_sacrebleu_is_imported_when_it_is_needed() -> None:
    code = "import sys, tfft.metrics.translation; print('sacrebleu' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr
