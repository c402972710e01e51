"""Figures of written texts over a whole split: translations, summaries, answers.

BLEU (Papineni et al. 2002), chrF (Popović 2015) and TER (Snover et al. 2006) are those of sacreBLEU (Post 2018,
https://aclanthology.org/W18-6319/), with its signatures; ROUGE is that of `tfft.metrics.rouge`.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from tfft.core.errors import ConfigError, DataError, unknown_name
from tfft.metrics.base import Table
from tfft.metrics.rouge import rouge

#: How BLEU finds words: "13a" is that of WMT, "intl" knows all scripts with spaces, "zh" is for Chinese, "char" for
#: other scripts without spaces, "none" for texts that are split into words already.
Tokenizer = Literal["13a", "intl", "zh", "char", "none"]
TOKENIZERS: tuple[Tokenizer, ...] = ("13a", "intl", "zh", "char", "none")
#: How often rows are drawn for confidence intervals.
RESAMPLES = 1_000
#: So many rows are drawn in all, as memory is taken for each: less often from large splits.
_MOST_DRAWN = 5_000_000
#: Fewer tell too little: then there are no intervals.
_FEWEST_RESAMPLES = 100
#: So many rows are enough for an interval.
_FEWEST_ROWS = 2
#: Above so many nats a token, perplexity is more than a float can hold.
_MOST_NATS = math.log(sys.float_info.max)


@dataclasses.dataclass(frozen=True)
class ScoredRow:
    """A row with what was written for it.

    Attributes:
        row: Its place in the split, from 0.
        chrf: chrF of this row alone, from 0 to 100.
        source: What was given; None when it was not named.
        reference: What should be written.
        predicted: What was written.
    """

    row: int
    chrf: float
    source: str | None
    reference: str
    predicted: str


@dataclasses.dataclass(frozen=True)
class Interval:
    """95 % of what a figure would be for other rows of this kind, by drawing rows with replacement (Koehn 2004).

    Attributes:
        mean: Mean over the draws.
        margin: What the interval reaches to both sides of it.
        resamples: Number of draws.
    """

    mean: float
    margin: float
    resamples: int


@dataclasses.dataclass(frozen=True)
class TranslationMetrics:
    """The figures of a model that writes texts.

    Attributes:
        rows: Number of rows.
        loss: Mean negative log-likelihood in nats per token of the references; None when it was not computed.
        perplexity: Its exponential.
        accuracy: Share of the tokens of the references that are the likeliest ones after what comes before them; None
            when it was not computed.
        bleu: BLEU of the whole split, from 0 to 100: up to four words in a row.
        chrf: chrF of the whole split, from 0 to 100: up to six characters in a row.
        ter: Edits and shifts for each word of the references, in percent; the less the better, and more than 100 is
            possible. None when it was not asked for.
        rouge_1: Mean over the rows of ROUGE-1 F1, from 0 to 100.
        rouge_2: The same of ROUGE-2.
        rouge_l: The same of ROUGE-L.
        exact_match: Share of rows written exactly as the reference, but for white space.
        distinct_1: Distinct words as a share of all words written (Li et al. 2016); 0 when nothing was.
        distinct_2: The same of pairs of words.
        signatures: Those of sacreBLEU, by figure: what has to be the same for figures to be comparable.
        intervals: Confidence intervals by figure; None for few rows, and for too many.
        best: Rows of the highest chrF, best first.
        worst: Rows of the lowest chrF, worst first.
    """

    rows: int
    loss: float | None
    perplexity: float | None
    accuracy: float | None
    bleu: float
    chrf: float
    ter: float | None
    rouge_1: float
    rouge_2: float
    rouge_l: float
    exact_match: float
    distinct_1: float
    distinct_2: float
    signatures: dict[str, str]
    intervals: dict[str, Interval] | None
    best: Sequence[ScoredRow]
    worst: Sequence[ScoredRow]

    def __post_init__(self) -> None:
        """Takes intervals and rows as plain data, too."""
        for name in ("best", "worst"):
            made = tuple(item if isinstance(item, ScoredRow) else ScoredRow(**item) for item in getattr(self, name))
            object.__setattr__(self, name, made)
        if self.intervals is not None:
            plain = self.intervals.items()
            made_intervals = {name: item if isinstance(item, Interval) else Interval(**item) for name, item in plain}
            object.__setattr__(self, "intervals", made_intervals)

    def scalars(self) -> dict[str, float]:
        """Returns all figures that were computed, the loss first."""
        names = ("loss", "perplexity", "accuracy", *_TITLES)
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def tables(self) -> list[Table]:
        """Returns figures with intervals, sacreBLEU's signatures, and the best and worst rows."""
        figures = [
            [title, f"{getattr(self, name):{form}}", self._interval(name)]
            for name, (title, form) in _TITLES.items()
            if getattr(self, name) is not None
        ]
        found = [
            Table("Texts", ["figure", "value", "95 % interval"], figures),
            Table("Signatures of sacreBLEU", ["figure", "signature"], [[*item] for item in self.signatures.items()]),
        ]
        for title, rows in (("Best rows by chrF", self.best), ("Worst rows by chrF", self.worst)):
            cells = [
                [str(item.row), f"{item.chrf:.1f}", item.source or "", item.reference, item.predicted] for item in rows
            ]
            found += [Table(title, ["row", "chrF", "source", "reference", "predicted"], cells)] if cells else []
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        plain = dataclasses.asdict(self)
        return {**plain, "best": list(plain["best"]), "worst": list(plain["worst"])}

    def _interval(self, name: str) -> str:
        if self.intervals is None or name not in self.intervals:
            return ""
        interval = self.intervals[name]
        return f"{interval.mean:.1f} ± {interval.margin:.1f}"


_TITLES = {
    "bleu": ("BLEU", ".2f"),
    "chrf": ("chrF", ".2f"),
    "ter": ("TER", ".2f"),
    "rouge_1": ("ROUGE-1", ".2f"),
    "rouge_2": ("ROUGE-2", ".2f"),
    "rouge_l": ("ROUGE-L", ".2f"),
    "exact_match": ("exact match", ".3f"),
    "distinct_1": ("distinct-1", ".3f"),
    "distinct_2": ("distinct-2", ".3f"),
}


def translation_metrics(
    predicted: Sequence[str],
    references: Sequence[str],
    *,
    sources: Sequence[str] | None = None,
    tokenize: Tokenizer = "13a",
    shown: int = 3,
    intervals: bool = True,
    with_ter: bool = True,
    loss: float | None = None,
    accuracy: float | None = None,
) -> TranslationMetrics:
    """Computes all figures.

    Args:
        predicted: What was written for each row.
        references: What should be written.
        sources: What was given, to be shown beside them.
        tokenize: How BLEU and distinct-n find words.
        shown: How many of the best and of the worst rows are kept.
        intervals: Whether confidence intervals are computed for BLEU, chrF and TER.
        with_ter: Whether TER is computed; it takes by far the longest where texts are long.
        loss: Mean loss in nats per token of the references, to be kept with the figures.
        accuracy: Share of right tokens after true ones, to be kept with the figures.

    Returns:
        The figures.

    Raises:
        DataError: When there are no rows, or not as many texts of each kind.
        ConfigError: When a tokenizer is unknown.
    """
    if tokenize not in TOKENIZERS:
        raise ConfigError(unknown_name("tokenizer of BLEU", tokenize, TOKENIZERS))
    _check(predicted, references, sources)
    from sacrebleu.metrics import BLEU, CHRF, TER

    # BLEU's `force` says that texts may look split into words, which is no more than a warning.
    metrics = {"bleu": BLEU(tokenize=tokenize, force=True), "chrf": CHRF()} | ({"ter": TER()} if with_ter else {})
    resamples = min(RESAMPLES, _MOST_DRAWN // len(predicted)) if intervals and len(predicted) >= _FEWEST_ROWS else 0
    drawn = resamples >= _FEWEST_RESAMPLES
    scored = (_with_interval if drawn else _plainly)(metrics, list(predicted), list(references), resamples)
    rouges = [rouge(text, true) for text, true in zip(predicted, references, strict=True)]
    means = [100 * math.fsum(part) / len(rouges) for part in zip(*rouges, strict=True)]
    words = [metrics["bleu"].tokenizer(text.rstrip()).split() for text in predicted]
    best, worst = _extremes(metrics["chrf"], predicted, references, sources, shown)
    return TranslationMetrics(
        rows=len(predicted),
        loss=loss,
        perplexity=None if loss is None else math.inf if loss > _MOST_NATS else math.exp(loss),
        accuracy=accuracy,
        bleu=scored["bleu"].score,
        chrf=scored["chrf"].score,
        ter=scored["ter"].score if with_ter else None,
        rouge_1=means[0],
        rouge_2=means[1],
        rouge_l=means[2],
        exact_match=sum(a.split() == b.split() for a, b in zip(predicted, references, strict=True)) / len(predicted),
        distinct_1=_distinct(words, 1),
        distinct_2=_distinct(words, 2),
        signatures={name: item.signature for name, item in scored.items()},
        intervals={name: item.interval for name, item in scored.items() if item.interval} or None,
        best=best,
        worst=worst,
    )


def _check(predicted: Sequence[str], references: Sequence[str], sources: Sequence[str] | None) -> None:
    if not len(predicted) or len(predicted) != len(references):
        raise DataError(
            f"There are {len(references):,} references, but {len(predicted):,} predictions; each row needs both."
        )
    if sources is not None and len(sources) != len(predicted):
        raise DataError(f"There are {len(sources):,} sources, but {len(predicted):,} predictions.")


class _Scored(NamedTuple):
    score: float
    signature: str
    interval: Interval | None


def _plainly(metrics: dict[str, Any], predicted: list[str], references: list[str], _: int) -> dict[str, _Scored]:
    # The signature is known only behind the score.
    scores = {name: float(metric.corpus_score(predicted, [references]).score) for name, metric in metrics.items()}
    return {name: _Scored(scores[name], str(metric.get_signature()), None) for name, metric in metrics.items()}


def _with_interval(
    metrics: dict[str, Any], predicted: list[str], references: list[str], resamples: int
) -> dict[str, _Scored]:
    """Asks sacreBLEU for its comparison of systems, of which there is one.

    Its `corpus_score(n_bootstrap=...)` says as much, but as text only, and fails on splits so small that nothing is
    right in some draws (sacreBLEU 2.6 with NumPy 2: "don't know how to coerce float and float32").
    """
    from sacrebleu.significance import PairedTest

    signatures, found = PairedTest(
        [("predicted", predicted)], metrics, [references], test_type="bs", n_samples=resamples
    )()
    results = [item for title, (item,) in found.items() if title != "System"]
    return {
        name: _Scored(float(item.score), str(signature), Interval(float(item.mean), float(item.ci), resamples))
        for name, item, signature in zip(metrics, results, signatures.values(), strict=True)
    }


def _distinct(rows: Sequence[Sequence[str]], order: int) -> float:
    grams = [gram for words in rows for gram in zip(*(words[n:] for n in range(order)), strict=False)]
    return len(set(grams)) / len(grams) if grams else 0.0


def _extremes(
    metric: Any, predicted: Sequence[str], references: Sequence[str], sources: Sequence[str] | None, shown: int
) -> tuple[list[ScoredRow], list[ScoredRow]]:
    """Returns the best and the worst rows by chrF, no row as both; of equals the first."""
    chrf = [float(metric.sentence_score(text, [true]).score) for text, true in zip(predicted, references, strict=True)]
    order = sorted(range(len(chrf)), key=lambda row: -chrf[row])
    best = order[:shown]
    worst = sorted(order[shown:], key=lambda row: chrf[row])[:shown]

    def made(row: int) -> ScoredRow:
        return ScoredRow(row, chrf[row], None if sources is None else sources[row], references[row], predicted[row])

    return [made(row) for row in best], [made(row) for row in worst]
