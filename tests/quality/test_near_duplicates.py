"""Near duplicates: compared with brute force over all pairs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest
from conftest import clean_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.quality import near_duplicates
from tfft.quality._shingles import shingle_hashes
from tfft.quality.near_duplicates import near_duplicate_groups
from tfft.quality.normal_form import normal_form

QUIET = Console(quiet=True)


def shingles(text: str) -> set[str]:
    """Pieces of 4 characters, or of 2 where they start with a Chinese, Japanese or Korean one."""
    found = set()
    for at, character in enumerate(text):
        width = 2 if "\u3040" <= character <= "\ud7ff" or "\U00020000" <= character <= "\U0003ffff" else 4
        if at + width <= len(text) or at == 0:
            found.add(text[at : at + width])
    return found


def jaccard(one: str, other: str) -> float:
    first, second = shingles(normal_form(one)), shingles(normal_form(other))
    return len(first & second) / len(first | second) if first | second else 1.0


def brute_force(texts: Sequence[str], threshold: float) -> list[set[int]]:
    """Connects all pairs that are similar enough, by comparing each with each."""
    group = list(range(len(texts)))
    for one, other in itertools.combinations(range(len(texts)), 2):
        if jaccard(texts[one], texts[other]) >= threshold - 1e-9:
            old, new = group[other], group[one]
            group = [new if number == old else number for number in group]
    return as_sets(group)


def as_sets(groups: Sequence[int]) -> list[set[int]]:
    members: dict[int, set[int]] = {}
    for at, group in enumerate(groups):
        members.setdefault(group, set()).add(at)
    return sorted(members.values(), key=min)


def edited(text: str, edits: int, rng: random.Random) -> str:
    for _ in range(edits):
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice("abcdefghij ") + text[at + rng.randint(0, 1) :]
    return text


def edited_rows(seed: int) -> list[str]:
    """Forty texts with up to three copies each, from hardly to heavily edited."""
    rng = random.Random(seed)  # noqa: S311
    texts, _ = clean_rows(40, seed)
    return texts + [edited(text, rng.randint(0, 12), rng) for text in texts for _ in range(rng.randint(0, 3))]


@given(texts=st.lists(st.text(st.sampled_from("abc é中国ｶ한\U00020000\ud800"), max_size=12), min_size=2, max_size=4))
@settings(max_examples=300, deadline=None)
def test_equal_shingles_have_equal_hashes_and_others_do_not(texts: list[str]) -> None:
    hashes, offsets = shingle_hashes(texts)
    sets = [set(hashes[start:end].tolist()) for start, end in itertools.pairwise(offsets)]
    for one, other in itertools.combinations(range(len(texts)), 2):
        common = shingles(texts[one]) & shingles(texts[other])
        assert len(sets[one]) == len(shingles(texts[one]))
        assert len(sets[one] & sets[other]) == len(common)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_groups_are_those_of_brute_force(threshold: float) -> None:
    found, expected = [], []
    for seed in range(2):
        texts = edited_rows(seed)
        found.append(as_sets(near_duplicate_groups(texts, QUIET, threshold=threshold)))
        expected.append(brute_force(texts, threshold))
    wrong = sum(len(one) for one, other in zip(found, expected, strict=True) for one in one if one not in other)
    assert sum(len(sets) for sets in expected) < sum(len(edited_rows(seed)) for seed in range(2))
    # MinHash may miss a pair just at the threshold; it cannot invent one.
    assert wrong <= 2
    for own, whole in zip(found, expected, strict=True):
        assert all(any(one <= other for other in whole) for one in own)


def test_the_size_of_the_pieces_that_are_worked_on_has_no_influence(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = edited_rows(7)
    whole = near_duplicate_groups(texts, QUIET).tolist()
    for name, size in (("CHARACTERS_AT_ONCE", 150), ("SHINGLES_AT_ONCE", 7), ("PAIRS_AT_ONCE", 3)):
        monkeypatch.setattr(near_duplicates, name, size)
        assert near_duplicate_groups(texts, QUIET).tolist() == whole


def test_chinese_is_compared_by_pairs_of_characters() -> None:
    text = "今天天气很好我们一起去公园散步然后回家吃饭看书"
    changed = text.replace("公园", "海边")
    assert jaccard(text, changed) == pytest.approx(19 / 25)
    assert len(set(near_duplicate_groups([text, changed, "完全不同的一句话在这里没有关系"], QUIET))) == 2


#: Letters of English by frequency, in per mille.
ENGLISH = dict(zip("etaoinshrdlucmfwypvbgkq", [127, 91, 82, 75, 70, 67, 63, 61, 60, 43, 40, 28, 28, 24, 22, 24, 20, 19,
                                              10, 15, 20, 8, 1], strict=True))  # fmt: skip


def test_long_documents_are_not_alike_for_being_long() -> None:
    rng = random.Random(0)  # noqa: S311
    letters, weights = list(ENGLISH), list(ENGLISH.values())
    words = [["".join(rng.choices(letters, weights, k=rng.randint(2, 8))) for _ in range(20_000)] for _ in range(2)]
    documents = [" ".join(own) for own in words]
    threes = [{text[at : at + 3] for at in range(len(text) - 2)} for text in documents]
    assert len(threes[0] & threes[1]) / len(threes[0] | threes[1]) > 0.7  # which is why shingles have 4 characters
    assert len(set(near_duplicate_groups(documents, QUIET))) == 2


def test_groups_and_their_numbers_do_not_depend_on_the_order() -> None:
    texts = edited_rows(5)
    order = np.random.default_rng(1).permutation(len(texts))
    one = near_duplicate_groups(texts, QUIET)
    other = near_duplicate_groups([texts[at] for at in order], QUIET)
    assert one[order].tolist() == other.tolist()
    assert sorted(set(one.tolist())) == list(range(one.max() + 1))


def test_equal_normal_forms_are_in_one_group_at_any_threshold() -> None:
    texts = ["The  same", "the same\n", "THE SAME", "another"]
    for threshold in (0.01, 0.7, 1.0):
        assert len(set(near_duplicate_groups(texts, QUIET, threshold=threshold)[:3])) == 1


def test_a_chain_is_one_group() -> None:
    text = clean_rows(1)[0][0]
    ends = ["", "abcdefgh", "ijklmnop qrstuvwx", "yzabcdefghij klmnopqrst"]
    chain = [" ".join([text, *ends[1 : count + 1]]) for count in range(4)]
    similar = [jaccard(one, other) for one, other in itertools.pairwise(chain)]
    assert min(similar) >= 0.7 > jaccard(chain[0], chain[-1])
    assert near_duplicate_groups(chain, QUIET).tolist() == [0, 0, 0, 0]


def test_many_copies_of_a_template_are_one_group_and_fast() -> None:
    texts = [
        f"Your parcel with the number {number} will arrive tomorrow before noon, please be there"
        for number in range(3000)
    ]
    assert len(set(near_duplicate_groups(texts, QUIET))) == 1


def test_many_texts_that_are_nearly_near_are_compared_in_bounded_time() -> None:
    rng = random.Random(2)  # noqa: S311
    common = "the terms of this agreement are those of the contract between the parties "
    texts = [common + "".join(rng.choices("bcdfgklm", k=45)) for _ in range(1500)]
    assert 0.3 < jaccard(texts[0], texts[1]) < 0.6
    assert len(set(near_duplicate_groups(texts, QUIET))) == 1500


@pytest.mark.parametrize("texts", [[], [""], ["", "", "a"], ["\ud800", "\ud801"]])
def test_texts_without_shingles_are_no_trouble(texts: list[str]) -> None:
    groups = near_duplicate_groups(texts, QUIET)
    assert groups.dtype == np.int64
    assert as_sets(groups.tolist()) == as_sets(texts)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5])
def test_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        near_duplicate_groups(["a"], QUIET, threshold=threshold)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9])
def test_bands_find_nearly_every_pair_at_the_threshold(threshold: float) -> None:
    rows = near_duplicates._rows_per_band(threshold)
    bands = near_duplicates.SIGNATURE // rows
    rng = np.random.default_rng(0)
    agreeing = rng.random((20_000, bands, rows)) < threshold
    assert agreeing.all(axis=2).any(axis=1).mean() > 0.94
