"""What every registered check has to do, whatever it looks for."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from tfft.console import Console
from tfft.quality.base import POLICIES, Corpus, Finding, detectors

NAMES = detectors.names()
MakeCorpus = Callable[..., Corpus]

#: Changes a clean corpus into one with a fault, and says which positions are to be found.
Plant = Callable[[Corpus], tuple[Corpus, set[int]]]


def changed(corpus: Corpus, texts: dict[int, str] | None = None, labels: dict[int, str] | None = None) -> Corpus:
    """Returns the corpus with some texts and labels replaced."""
    new_texts = [(texts or {}).get(at, text) for at, text in enumerate(corpus.texts)]
    new_labels = [(labels or {}).get(at, label) for at, label in enumerate(corpus.labels)]
    return dataclasses.replace(corpus, texts=new_texts, labels=new_labels)


def exact_duplicates(corpus: Corpus) -> tuple[Corpus, set[int]]:
    return changed(corpus, {16: f"  {corpus.texts[0].upper()}\n"}), {0, 16}


def near_duplicates(corpus: Corpus) -> tuple[Corpus, set[int]]:
    return changed(corpus, {16: corpus.texts[0] + " zz", 17: corpus.texts[1][:-2]}), {0, 1, 16, 17}


def conflicting_labels(corpus: Corpus) -> tuple[Corpus, set[int]]:
    return changed(corpus, {17: corpus.texts[0]}), {0, 17}


def leakage(corpus: Corpus) -> tuple[Corpus, set[int]]:
    assert corpus.splits is not None
    assert corpus.splits[[0, 2, 12, 13, 14]].tolist() == ["train", "train", "validation", "validation", "test"]
    return changed(corpus, {12: corpus.texts[0], 14: corpus.texts[2]}), {0, 2}


def near_leakage(corpus: Corpus) -> tuple[Corpus, set[int]]:
    return changed(corpus, {12: corpus.texts[0], 13: corpus.texts[3] + " zz"}), {3}


def class_imbalance(corpus: Corpus) -> tuple[Corpus, set[int]]:
    return changed(corpus, labels={5: "rare", 8: "rare"}), {5, 8}


def lengths(corpus: Corpus) -> tuple[Corpus, set[int]]:
    token_lengths = np.full(len(corpus), 32)
    token_lengths[[4, 9]] = [33, 400]
    return dataclasses.replace(corpus, token_lengths=token_lengths), {4, 9}


def mojibake(corpus: Corpus) -> tuple[Corpus, set[int]]:
    texts = {3: "a cafÃ© " + corpus.texts[3], 7: corpus.texts[7] + " \ufffd", 8: "a café " + corpus.texts[8]}
    return changed(corpus, texts), {3, 7}


def personal_data(corpus: Corpus) -> tuple[Corpus, set[int]]:
    return changed(corpus, {2: corpus.texts[2] + " ann@example.com", 9: "192.0.2.7 " + corpus.texts[9]}), {2, 9}


def unlikely_labels(corpus: Corpus) -> tuple[Corpus, set[int]]:
    assert [corpus.labels[at] for at in (10, 33, 60)] == ["good", "poor", "good"]
    texts = {10: "dreadful tedious awful clumsy", 33: "superb charming moving", 60: "clumsy awful tedious dreadful"}
    return changed(corpus, texts), set(texts)


PLANTS: dict[str, Plant] = {
    "exact_duplicates": exact_duplicates,
    "near_duplicates": near_duplicates,
    "conflicting_labels": conflicting_labels,
    "leakage": leakage,
    "near_leakage": near_leakage,
    "class_imbalance": class_imbalance,
    "lengths": lengths,
    "mojibake": mojibake,
    "personal_data": personal_data,
    "unlikely_labels": unlikely_labels,
}
#: After its rows are gone, a new model has new opinions.
OTHER_FINDINGS_AFTER_A_DROP = {"unlikely_labels"}


def find(name: str, corpus: Corpus) -> Finding | None:
    return detectors.get(name).find(corpus, Console(quiet=True))


def positions_of(finding: Finding | None) -> list[int]:
    return [] if finding is None else finding.positions.tolist()


def taken(corpus: Corpus, positions: np.ndarray) -> Corpus:
    """Returns the corpus with only these rows, in this order."""
    return dataclasses.replace(
        corpus,
        texts=[corpus.texts[at] for at in positions],
        labels=[corpus.labels[at] for at in positions],
        splits=None if corpus.splits is None else corpus.splits[positions],
        token_lengths=None if corpus.token_lengths is None else corpus.token_lengths[positions],
    )


def rows_of(corpus: Corpus, positions: list[int]) -> Counter[tuple[str, str, str]]:
    assert corpus.splits is not None
    return Counter((corpus.texts[at], corpus.labels[at], corpus.splits[at]) for at in positions)


def test_every_check_has_a_planted_fault() -> None:
    assert set(NAMES) == set(PLANTS), "a new check needs a fault to find in this file"


@pytest.mark.parametrize("name", NAMES)
def test_declares_policies_that_it_has(name: str) -> None:
    detector = detectors.get(name)
    assert detector.default in POLICIES
    assert detector.default != "drop" or detector.can_drop
    assert detector.most_rows is None or detector.most_rows > 0


@pytest.mark.parametrize("name", NAMES)
def test_finds_exactly_the_planted_rows(name: str, clean: MakeCorpus) -> None:
    corpus, expected = PLANTS[name](clean())
    finding = find(name, corpus)
    assert finding is not None
    assert finding.positions.dtype == np.int64
    assert finding.positions.tolist() == sorted(expected)
    assert finding.summary
    assert "\n" not in finding.summary


@pytest.mark.parametrize("name", NAMES)
def test_finds_nothing_in_clean_rows(name: str, clean: MakeCorpus) -> None:
    assert positions_of(find(name, clean())) == []


@pytest.mark.parametrize("name", NAMES)
def test_summary_counts_and_names_rows(name: str, clean: MakeCorpus) -> None:
    corpus, expected = PLANTS[name](clean())
    named: list[int] = []

    def name_rows(positions: np.ndarray) -> str:
        named.extend(positions.tolist())
        return "THE ROWS"

    finding = find(name, dataclasses.replace(corpus, name_rows=name_rows))
    assert finding is not None
    assert f"{len(expected)} of {len(corpus)} rows" in finding.summary
    if name != "class_imbalance":  # its rows are known by their label
        assert finding.summary.endswith("THE ROWS")
        assert set(named) <= expected


@pytest.mark.parametrize("name", NAMES)
def test_what_is_dropped_is_part_of_what_was_found_and_answers_it(name: str, clean: MakeCorpus) -> None:
    corpus, expected = PLANTS[name](clean())
    finding = find(name, corpus)
    assert finding is not None
    dropped = finding.to_drop()
    assert dropped.tolist() == sorted(set(dropped.tolist()) & expected)
    assert (finding.sets is not None) == detectors.get(name).keeps_one
    if finding.sets is not None:
        sets = dict(zip(finding.positions.tolist(), finding.sets.tolist(), strict=True))
        left = Counter(sets[at] for at in expected - set(dropped.tolist()))
        assert left == dict.fromkeys(sets.values(), 1)
    if detectors.get(name).can_drop and name not in OTHER_FINDINGS_AFTER_A_DROP:
        rest = taken(corpus, np.setdiff1d(np.arange(len(corpus)), dropped))
        assert positions_of(find(name, rest)) == []


@pytest.mark.parametrize("name", NAMES)
def test_is_deterministic(name: str, clean: MakeCorpus) -> None:
    one, other = (find(name, PLANTS[name](clean())[0]) for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.positions.tolist() == other.positions.tolist()
    assert (one.summary, one.details) == (other.summary, other.details)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_the_rows_has_no_influence(name: str, clean: MakeCorpus) -> None:
    corpus, expected = PLANTS[name](clean())
    order = np.random.default_rng(3).permutation(len(corpus))
    shuffled = taken(corpus, order)
    finding = find(name, shuffled)
    assert finding is not None
    assert rows_of(shuffled, finding.positions.tolist()) == rows_of(corpus, sorted(expected))


@pytest.mark.parametrize("name", NAMES)
def test_details_are_json_without_any_text_of_the_data(name: str, clean: MakeCorpus) -> None:
    corpus, expected = PLANTS[name](clean())
    finding = find(name, corpus)
    assert finding is not None
    written = json.dumps([finding.summary, finding.details], allow_nan=False)
    assert json.loads(written)[1] == finding.details
    for at in expected:
        words = {word for word in corpus.texts[at].split() if len(word) > 4}
        assert not [word for word in words if word in written]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "texts", [["one"], ["a", "b"], ["?!", ""], ["same"] * 3, ["\ud800 broken"], ["中文", "中文。"]]
)
def test_tiny_data_is_no_trouble(name: str, texts: list[str]) -> None:
    splits = np.array(["train", "test", "validation"], dtype=object)[: len(texts)]
    corpus = Corpus(texts, ["x", "y", "x"][: len(texts)], splits)
    assert set(positions_of(find(name, corpus))) <= set(range(len(texts)))


@pytest.mark.parametrize("name", [name for name in NAMES if not detectors.get(name).needs_labels])
def test_labels_are_not_needed_unless_it_says_so(name: str, clean: MakeCorpus) -> None:
    corpus, expected = PLANTS[name](clean())
    assert positions_of(find(name, dataclasses.replace(corpus, labels=()))) == sorted(expected)


@pytest.mark.parametrize("name", [name for name in NAMES if not detectors.get(name).needs_splits])
def test_splits_are_not_needed_unless_it_says_so(name: str, clean: MakeCorpus) -> None:
    corpus, expected = PLANTS[name](clean())
    assert positions_of(find(name, dataclasses.replace(corpus, splits=None))) == sorted(expected)
