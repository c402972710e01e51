"""Entity figures against conlleval's algorithm, written down here once more, and against figures published with it."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import DataError
from tfft.core.tag_schemes import Span, TagScheme, tags_of
from tfft.metrics.entities import EntityMetrics, entity_metrics

TYPES = ["PER", "LOC", "I-x"]
PREFIXES: dict[TagScheme, str] = {"bio": "BI", "iob1": "BI", "bioes": "BIES"}
#: The rules of conlleval's endOfChunk and startOfChunk for prefixes before and after, and those for E and S of its
#: later versions; apart from these, a change of type ends and begins a chunk.
ENDS = {*map(tuple, ("BB", "BO", "BS", "IB", "IO", "IS")), *itertools.product("ES", "OBIES")}
STARTS = {*itertools.product("OBIES", "BS"), *itertools.product("OES", "IE")}

Rows = list[tuple[list[str], list[str]]]


def parts(tag: str) -> tuple[str, str]:
    prefix, _, kind = tag.partition("-")
    return prefix, kind


def is_end(before: tuple[str, str], now: tuple[str, str]) -> bool:
    return (before[0], now[0]) in ENDS or (before[0] != "O" and before[1] != now[1])


def is_start(before: tuple[str, str], now: tuple[str, str]) -> bool:
    return (before[0], now[0]) in STARTS or (now[0] != "O" and before[1] != now[1])


def conlleval(rows: Rows) -> tuple[Counter[str], Counter[str], Counter[str], int, int]:
    """Counts correct, true and guessed chunks by type, tokens, and tokens tagged correctly, token by token."""
    correct, found, guesses = Counter[str](), Counter[str](), Counter[str]()
    tokens = right = 0
    in_correct = False
    last_true = last_guess = ("O", "")
    for true_tags, guessed_tags in rows:
        for true_tag, guessed_tag in [*zip(true_tags, guessed_tags, strict=True), ("O", "O")]:
            true, guess = parts(true_tag), parts(guessed_tag)
            ends = is_end(last_true, true), is_end(last_guess, guess)
            if in_correct and all(ends) and last_true[1] == last_guess[1]:
                in_correct = False
                correct[last_true[1]] += 1
            elif in_correct and (ends[0] != ends[1] or true[1] != guess[1]):
                in_correct = False
            starts = is_start(last_true, true), is_start(last_guess, guess)
            if all(starts) and true[1] == guess[1]:
                in_correct = True
            found[true[1]] += starts[0]
            guesses[guess[1]] += starts[1]
            last_true, last_guess = true, guess
        tokens += len(true_tags)
        right += sum(map(str.__eq__, true_tags, guessed_tags))
    return correct, found, guesses, tokens, right


def expected_figures(correct: int, found: int, guesses: int) -> dict[str, float]:
    precision = correct / guesses if guesses else 0.0
    recall = correct / found if found else 0.0
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "support": found, "predicted": guesses}


def metrics(rows: Rows, scheme: TagScheme) -> EntityMetrics:
    return entity_metrics([true for true, _ in rows], [guessed for _, guessed in rows], scheme)


def assert_counted_as_conlleval_does(found: EntityMetrics, rows: Rows) -> None:
    correct, true, guesses, tokens, right = conlleval(rows)
    assert found.rows == len(rows)
    assert found.tokens == tokens
    assert found.accuracy == pytest.approx(right / tokens if tokens else 0)
    assert found.overall == pytest.approx(expected_figures(correct.total(), true.total(), guesses.total()))
    kinds = [kind for kind in sorted({*true, *guesses}) if true[kind] or guesses[kind]]
    assert list(found.per_type) == kinds
    for kind in kinds:
        assert found.per_type[kind] == pytest.approx(expected_figures(correct[kind], true[kind], guesses[kind]))


@st.composite
def tagged_rows(draw: st.DrawFn, scheme: TagScheme) -> Rows:
    """Draws true and predicted tags, in any order and so mostly invalid; half of the predicted ones are true."""
    tag = st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in PREFIXES[scheme] for kind in TYPES[:2])])
    pairs = st.one_of(tag.map(lambda one: (one, one)), st.tuples(tag, tag))
    rows = draw(st.lists(st.lists(pairs, max_size=8), max_size=6))
    return [([true for true, _ in row], [guessed for _, guessed in row]) for row in rows]


@st.composite
def spans(draw: st.DrawFn, pieces: list[int]) -> list[Span]:
    """Draws spans that end where pieces end, so that two draws often agree."""
    ends = list(itertools.accumulate(pieces))
    kinds = draw(st.lists(st.sampled_from([*TYPES, ""]), min_size=len(pieces), max_size=len(pieces)))
    return [Span(end - size, end, kind) for size, end, kind in zip(pieces, ends, kinds, strict=True) if kind]


@pytest.mark.parametrize("scheme", PREFIXES)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_tags_are_counted_as_conlleval_counts_them(scheme: TagScheme, data: st.DataObject) -> None:
    rows = data.draw(tagged_rows(scheme))
    assert_counted_as_conlleval_does(metrics(rows, scheme), rows)


@pytest.mark.parametrize("scheme", PREFIXES)
@given(pieces=st.lists(st.integers(1, 4), max_size=8), data=st.data())
@settings(max_examples=100, deadline=None)
def test_valid_tags_are_counted_by_span(scheme: TagScheme, pieces: list[int], data: st.DataObject) -> None:
    true, guessed = data.draw(spans(pieces)), data.draw(spans(pieces))
    rows = [(tags_of(true, sum(pieces), scheme), tags_of(guessed, sum(pieces), scheme))]
    found = metrics(rows, scheme)
    assert_counted_as_conlleval_does(found, rows)
    both = len({*true} & {*guessed})
    assert found.overall == pytest.approx(expected_figures(both, len(true), len(guessed)))


@given(rows=st.lists(st.lists(st.tuples(*[st.sampled_from(["O", "NN", "VB"])] * 2), max_size=8), max_size=5))
@settings(max_examples=80, deadline=None)
def test_runs_of_plain_tags_are_entities(rows: list[list[tuple[str, str]]]) -> None:
    split = [([true for true, _ in row], [guessed for _, guessed in row]) for row in rows]
    prefixed = [tuple([tag if tag == "O" else f"I-{tag}" for tag in tags] for tags in row) for row in split]
    assert_counted_as_conlleval_does(metrics(split, "plain"), [(row[0], row[1]) for row in prefixed])


def test_the_example_of_conlleval_has_its_figures() -> None:
    """The nine tokens shown at https://www.clips.uantwerpen.be/conll2000/chunking/output.html, in its first version.

    All chunks are right though three tags are not: conlleval prints 66.67, 100.00, 100.00 and 100.00.
    """
    rows = [
        (["B-NP", "B-NP", "I-NP", "I-NP", "O"], ["I-NP", "B-NP", "I-NP", "I-NP", "O"]),
        (["B-NP", "B-VP", "B-NP", "I-NP"], ["I-NP", "I-VP", "B-NP", "I-NP"]),
    ]
    found = metrics(rows, "bio")
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.overall == {"precision": 1, "recall": 1, "f1": 1, "support": 5, "predicted": 5}
    assert found.per_type["NP"]["support"] == 4


def test_counts_published_with_conlleval_give_its_percentages() -> None:
    """The result at https://www.clips.uantwerpen.be/conll2000/chunking/output.html, of 459 phrases and 539 found."""
    published = {
        "ADJP": (0, 6, 1, "0.00 0.00 0.00"),
        "ADVP": (5, 8, 11, "45.45 62.50 52.63"),
        "NP": (206, 262, 317, "64.98 78.63 71.16"),
        "PP": (89, 90, 107, "83.18 98.89 90.36"),
        "SBAR": (2, 6, 3, "66.67 33.33 44.44"),
        "VP": (69, 87, 100, "69.00 79.31 73.80"),
    }
    rows: Rows = []
    for kind, (correct, true, guessed, _) in published.items():
        tag = [f"B-{kind}"]
        rows += [(tag, tag)] * correct + [(tag, ["O"])] * (true - correct) + [(["O"], tag)] * (guessed - correct)
    found = metrics(rows, "bio")
    printed = {
        kind: " ".join(f"{100 * row[name]:.2f}" for name in ("precision", "recall", "f1"))
        for kind, row in {**found.per_type, "all": found.overall}.items()
    }
    assert printed == {**{kind: row[3] for kind, row in published.items()}, "all": "68.83 80.83 74.35"}
    assert (found.overall["support"], found.overall["predicted"]) == (459, 539)


@pytest.mark.parametrize(
    ("scheme", "true", "guessed", "counts"),
    [
        ("bio", "B-A I-A O", "O I-A O", (0, 1, 1)),  # I- after O begins a chunk: another one
        ("bio", "O B-A O", "O I-A O", (1, 1, 1)),
        ("bio", "B-A I-A I-A", "B-A I-B I-A", (0, 1, 3)),  # another type breaks the chunk in three
        ("bio", "B-A B-A", "I-A I-A", (0, 2, 1)),
        ("iob1", "I-A B-A", "I-A I-A", (0, 2, 1)),
        ("bio", "B-A I-A", "B-A", None),
        ("bioes", "B-A E-A S-A", "B-A I-A E-A", (0, 2, 1)),
        ("bioes", "B-A E-A B-A E-A", "B-A I-A B-A I-A", (2, 2, 2)),  # an E- that is missing costs nothing
        ("bioes", "U-A B-B L-B", "S-A B-B E-B", (2, 2, 2)),
    ],
)
def test_chunks_counted_by_hand(
    scheme: TagScheme, true: str, guessed: str, counts: tuple[int, int, int] | None
) -> None:
    rows: Rows = [(true.split(), guessed.split())]
    if counts is None:
        with pytest.raises(DataError, match="Row 1 has 2 true tags, but 1 predicted ones"):
            metrics(rows, scheme)
        return
    assert metrics(rows, scheme).overall == pytest.approx(expected_figures(*counts))


def test_chunks_do_not_go_on_over_the_end_of_a_row() -> None:
    rows: Rows = [(["B-A"], ["B-A"]), (["I-A"], ["I-A"])]
    assert metrics(rows, "bio").overall["support"] == 2
    assert metrics([(["U-A"], ["S-A"])], "bioes").accuracy == 1


def test_tags_of_another_scheme_are_refused() -> None:
    with pytest.raises(DataError, match="Token 1 has the tag 'S-A', which is none of the scheme 'bio'"):
        metrics([(["O", "O"], ["O", "S-A"])], "bio")
    with pytest.raises(DataError, match="2 rows of true tags, but 1 of predicted"):
        entity_metrics([["O"], ["O"]], [["O"]], "bio")


def test_scalars_tables_and_plain_data() -> None:
    true, guessed = [["B-all", "O", "B-B"]], [["B-all", "B-B", "B-B"]]
    found = entity_metrics(true, guessed, "bio")
    assert list(found.scalars()) == ["entity_f1", "entity_precision", "entity_recall", "token_accuracy"]
    assert found.scalars()["entity_f1"] == pytest.approx(0.8)
    assert found.scalars()["entity_precision"] == pytest.approx(2 / 3)
    assert found.scalars()["entity_recall"] == 1
    assert found.scalars()["token_accuracy"] == pytest.approx(2 / 3)
    with_loss = entity_metrics(true, guessed, "bio", loss=0.25)
    assert with_loss.scalars() == {"loss": 0.25, **found.scalars()}
    (table,) = found.tables()
    assert table.columns == ["type", "precision", "recall", "f1", "entities", "predicted"]
    assert table.rows == [
        ["B", "0.500", "1.000", "0.667", "1", "2"],
        ["all", "1.000", "1.000", "1.000", "1", "1"],
        ["all", "0.667", "1.000", "0.800", "2", "3"],
    ]
    assert EntityMetrics(**json.loads(json.dumps(with_loss.to_dict()))) == with_loss
