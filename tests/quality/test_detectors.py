"""What is particular to each check, beyond the contract."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from conftest import clean_rows, thirds
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.quality.base import Corpus, Finding, detectors, share
from tfft.quality.detectors import unlikely_labels
from tfft.quality.normal_form import normal_form

MakeCorpus = Callable[..., Corpus]
SPLITS = ["train", "validation", "test"]
TEXTS = ["a", "A", "b", "c ", " c", "d"]
ROWS = st.lists(
    st.tuples(st.sampled_from(TEXTS), st.sampled_from("xy"), st.sampled_from(SPLITS)), min_size=1, max_size=12
)


def find(name: str, corpus: Corpus) -> Finding | None:
    return detectors.get(name).find(corpus, Console(quiet=True))


def positions_of(finding: Finding | None) -> list[int]:
    return [] if finding is None else finding.positions.tolist()


def corpus_of(rows: list[tuple[str, str, str]]) -> Corpus:
    texts, labels, splits = zip(*rows, strict=True)
    return Corpus(texts, labels, np.array(splits, dtype=object))


@given(rows=ROWS)
@settings(max_examples=100, deadline=None)
def test_exact_duplicates_conflicts_and_leakage_are_those_of_brute_force(rows: list[tuple[str, str, str]]) -> None:
    corpus = corpus_of(rows)
    places = {"train": 0, "validation": 1, "test": 2}
    same: dict[str, list[int]] = {"exact_duplicates": [], "conflicting_labels": [], "leakage": []}
    for at, (text, label, split) in enumerate(rows):
        others = [row for place, row in enumerate(rows) if place != at and normal_form(row[0]) == normal_form(text)]
        if any((other[1], other[2]) == (label, split) for other in others):
            same["exact_duplicates"].append(at)
        if any(other[1] != label for other in others):
            same["conflicting_labels"].append(at)
        if any(places[other[2]] > places[split] for other in others):
            same["leakage"].append(at)
    for name, expected in same.items():
        assert positions_of(find(name, corpus)) == expected


@given(rows=ROWS)
@settings(max_examples=80, deadline=None)
def test_copies_alone_are_not_near_duplicates(rows: list[tuple[str, str, str]]) -> None:
    assert positions_of(find("near_duplicates", corpus_of(rows))) == []


def test_copies_within_a_group_of_near_duplicates_go_with_it(clean: MakeCorpus) -> None:
    text = clean().texts[0]
    finding = find("near_duplicates", Corpus([text, text, text + " zz", text + " zz", "other"], list("xxxyx")))
    assert finding is not None
    assert finding.positions.tolist() == [0, 1, 2, 3]
    assert finding.to_drop().tolist() == [1, 2, 3]
    assert finding.details["groups_with_different_labels"] == 1
    assert "1 groups of nearly the same text (1 with different labels)" in finding.summary


def test_groups_that_are_known_are_not_computed_again(clean: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfft.quality.base.groups_of_normal_forms", None)
    groups = np.arange(160)
    groups[80] = 0
    finding = find("near_duplicates", clean(known_groups=groups))
    assert positions_of(finding) == [0, 80]


def test_leakage_is_told_apart_from_near_leakage_and_names_the_pair_of_splits(clean: MakeCorpus) -> None:
    texts, labels = clean_rows(8)
    texts += [texts[0], texts[1] + " zz", texts[2], texts[2]]
    splits = np.array(["train"] * 8 + ["test", "test", "validation", "test"], dtype=object)
    corpus = Corpus(texts, [*labels, *"xxxx"], splits)
    exact, near = find("leakage", corpus), find("near_leakage", corpus)
    assert exact is not None
    assert near is not None
    assert exact.positions.tolist() == [0, 2, 10]
    assert exact.details["pairs"] == {"train and validation": 1, "train and test": 2, "validation and test": 1}
    assert near.positions.tolist() == [1]
    assert near.details["pairs"] == {"train and test": 1}


def test_class_imbalance_gives_the_figures_of_the_formulas() -> None:
    labels = ["a"] * 22 + ["b"] * 9 + ["c"] * 2
    finding = find("class_imbalance", Corpus(["text"] * 33, labels))
    assert finding is not None
    assert finding.details["counts"] == {"a": 22, "b": 9, "c": 2}
    assert finding.details["ratio"] == 11
    entropy = -sum(count / 33 * math.log2(count / 33) for count in (22, 9, 2))
    assert finding.details["entropy_bits"] == pytest.approx(entropy)
    assert finding.details["evenness"] == pytest.approx(entropy / math.log2(3))
    assert finding.details["rare"] == ["c"]
    assert finding.positions.tolist() == [31, 32]


def test_ten_times_rarer_is_not_yet_rare() -> None:
    assert positions_of(find("class_imbalance", Corpus(["text"] * 22, ["a"] * 20 + ["b"] * 2))) == []


def test_lengths_are_those_of_numpy(clean: MakeCorpus) -> None:
    lengths = np.random.default_rng(0).integers(1, 90, 160)
    finding = find("lengths", clean(token_lengths=lengths, sequence_length=40))
    assert finding is not None
    over = [length - 40 for length in lengths.tolist() if length > 40]
    assert finding.positions.tolist() == [at for at, length in enumerate(lengths.tolist()) if length > 40]
    assert finding.details["truncated_rows"] == len(over)
    assert finding.details["lost"] == sum(over)
    assert finding.details["lost_share"] == pytest.approx(sum(over) / lengths.sum())
    assert finding.details["p95"] == pytest.approx(np.percentile(lengths, 95))


def test_lengths_are_counted_in_words_when_tokens_are_unknown() -> None:
    finding = find("lengths", Corpus(["one two three", "我们去公园", "one"], sequence_length=3))
    assert finding is not None
    assert finding.positions.tolist() == [1]
    assert finding.details["unit"] == "words"
    assert (finding.details["min"], finding.details["max"]) == (1, 5)


#: Sentences that are as they should be, in many scripts.
SOUND = [
    "El niño comió piñatas en el jardín de la señora.",
    "Ça va très bien, où est l'hôtel ? À côté du café.",
    "Die Straße ist schön, Übergröße für Mädchen.",
    "Смешно, но это правда: мы идём домой.",
    "今天天气很好,我们去公园吧。",
    "東京タワーへ行きたいです。",
    "저는 오늘 학교에 갔어요.",
    "مرحبا بالعالم كيف حالك",
    "שלום עולם מה שלומך",
    "สวัสดีครับ ยินดีต้อนรับ",
    "Γειά σου Κόσμε, τι κάνεις;",  # noqa: RUF001
    "Zażółć gęślą jaźń",
    "नमस्ते दुनिया",
    "Tiếng Việt rất khó đọc",
    "SÃO PAULO É GRANDE, AÇÃO!",
    "I love it 😍😍 so much ❤️",
    "“Smart quotes” — and dashes… don’t worry",  # noqa: RUF001
    "£20 for 3 nights, 25 °C, ±5 %, ½ price, ©2015 Apple®",
]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_mojibake_of_every_script_is_found_and_sound_text_is_not(encoding: str) -> None:
    damaged = [text.encode().decode(encoding, errors="ignore") for text in SOUND]
    finding = find("mojibake", Corpus([*SOUND, *damaged]))
    assert positions_of(finding) == list(range(len(SOUND), 2 * len(SOUND)))


def test_mojibake_says_what_could_be_repaired() -> None:
    finding = find("mojibake", Corpus(["plain", "cafÃ© crÃ¨me", "bad \ufffd bytes"]))
    assert finding is not None
    assert finding.details == {"rows": 2, "with_replacement_character": 1, "repairable": 1}


def test_personal_data_is_counted_by_kind_and_never_shown() -> None:
    texts = ["ann@example.com or bob@example.com", "ANN@example.com, 1.2.3.4", "nothing"]
    finding = find("personal_data", Corpus(texts))
    assert finding is not None
    assert finding.details["kinds"] == {"EMAIL": {"rows": 2, "distinct": 2}, "IP": {"rows": 1, "distinct": 1}}
    assert "(EMAIL 2, IP 1)" in finding.summary


def test_flipped_labels_are_named_with_the_likelier_one() -> None:
    texts, labels = clean_rows(600, seed=4)
    flipped = sorted(random.Random(1).sample(range(600), 30))  # noqa: S311
    given = [labels[at] if at not in flipped else ("poor" if labels[at] == "good" else "good") for at in range(600)]
    finding = find("unlikely_labels", Corpus(texts, given))
    assert finding is not None
    found = set(finding.positions.tolist())
    assert len(found & set(flipped)) >= 15
    assert len(found - set(flipped)) <= 1
    first = finding.details["least_likely"][0]
    row = int(first["row"].removeprefix("row ")) - 1
    assert row in flipped
    assert (first["label"], first["likelier"]) == (given[row], labels[row])


def test_seed_chooses_the_folds() -> None:
    texts, labels = clean_rows(60)
    folds = [unlikely_labels._folds(Corpus(texts, labels, seed=seed))[1].tolist() for seed in (0, 0, 1)]
    assert folds[0] == folds[1] != folds[2]


def test_folds_hold_their_share_of_each_label_and_copies_stay_together() -> None:
    texts, labels = clean_rows(100)
    texts, labels = texts + [text.upper() for text in texts[:40]], labels + labels[:40]
    corpus = Corpus(texts, labels)
    rows, folds = unlikely_labels._folds(corpus)
    fold_of = dict(zip(rows.tolist(), folds.tolist(), strict=True))
    assert sorted(fold_of) == list(range(140))
    assert all(fold_of[at] == fold_of[at + 100] for at in range(40))
    for label in ("good", "poor"):
        sizes = Counter(fold_of[at] for at in range(100) if labels[at] == label)
        assert set(sizes.values()) == {10}


def test_labels_with_too_few_texts_are_left_out_and_named() -> None:
    texts, labels = clean_rows(100)
    labels[7], labels[8] = "rare", "rare"
    finding = find("unlikely_labels", Corpus([*texts, "dreadful tedious awful clumsy"], [*labels, "good"]))
    assert finding is not None
    assert finding.details["unjudged_labels"] == ["rare"]
    assert "too few texts to judge: rare" in finding.summary
    assert not {7, 8} & set(finding.positions.tolist())


@pytest.mark.parametrize(
    ("texts", "labels", "reason"),
    [
        (["a b"] * 10, ["x", "y"] * 5, "fewer than two labels have 5 distinct texts"),
        (["?" * count for count in range(20)], ["x", "y"] * 10, "no word is in two texts"),
        ([f"word{count}" for count in range(20)], ["x", "y"] * 10, "no word is in two texts"),
    ],
)
def test_when_no_label_can_be_judged_the_reason_is_said(texts: list[str], labels: list[str], reason: str) -> None:
    finding = find("unlikely_labels", Corpus(texts, labels))
    assert finding is not None
    assert positions_of(finding) == []
    assert finding.summary == f"labels cannot be judged: {reason}"


def test_thirds_has_every_split() -> None:
    assert Counter(thirds(160).tolist()) == {"train": 120, "validation": 20, "test": 20}


@pytest.mark.parametrize(
    ("count", "total", "shown"), [(0, 5, "0.0 %"), (5, 5, "100.0 %"), (1, 10_000, "below 0.1 %"), (0, 0, "0.0 %")]
)
def test_share_never_makes_something_look_like_nothing(count: int, total: int, shown: str) -> None:
    assert share(count, total) == shown
