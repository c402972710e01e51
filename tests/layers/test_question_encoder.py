"""Windows of questions and contexts: against the definition in plain Python, and Hugging Face's tokenizers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import keras
import pytest
import tensorflow as tf
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from offset_cases import CASES, of
from tokenizers import processors

from tfft.backbones.keras_hub_tokenizers import segmentation_of
from tfft.core.errors import PresetError
from tfft.layers.character_spans import TokenSpans
from tfft.layers.question_encoder import QuestionEncoder, QuestionWindows, answer_positions
from tfft.layers.token_offsets import WithOffsets, token_offsets

PAD, START, SEPARATOR, END = 0, 1, 2, 3
#: Texts of no token, of some, and of several windows; "w" and "é" are two tokens, one after or within the other.
TEXT = st.text("abcw é", max_size=40)


def tokens_of(text: str) -> list[tuple[int, int, int]]:
    """By the definition of the toy tokenizer: a token for each pair of letters, none for spaces, two for one "é"."""
    found: list[tuple[int, int, int]] = []
    place = 0
    while place < len(text):
        letter = text[place]
        if letter == "é":
            found += [(ord("e"), place, place + 1), (0x301, place, place + 1)]
        elif letter != " ":
            pair = text[place : place + 2].rstrip(" é")
            found.append((sum(map(ord, pair)), place, place + len(pair)))
            place += len(pair) - 1
        place += 1
    return found


def toy(texts: tf.Tensor) -> TokenSpans:
    """The toy tokenizer; it works in graphs because it is plain Python inside."""

    def tokenized(rows: Any) -> list[Any]:
        parts = [tokens_of(row.decode()) for row in rows.numpy()]
        flat = [token for row in parts for token in row]
        columns = [[token[item] for token in flat] for item in range(3)]
        return [[len(row) for row in parts], *columns]

    lengths, *columns = tf.py_function(tokenized, [texts], [tf.int32] * 4)
    for values in (lengths, *columns):
        values.set_shape([None])
    return TokenSpans(*(tf.RaggedTensor.from_row_lengths(values, tf.cast(lengths, tf.int64)) for values in columns))


@functools.cache
def encoder_of(
    sequence_length: int, overlap: int, most: int, *, double: bool = False, offsets: Any = None
) -> QuestionEncoder:
    return QuestionEncoder(
        cast("Callable[[], WithOffsets | str]", offsets or (lambda: toy)),
        start_ids=[START],
        separator_ids=[SEPARATOR, SEPARATOR] if double else [SEPARATOR],
        end_ids=[END],
        pad_id=PAD,
        context_segment_id=int(not double),
        sequence_length=sequence_length,
        overlap=overlap,
        max_question_tokens=most,
    )


def encode(encoder: QuestionEncoder, rows: list[tuple[str, str]]) -> QuestionWindows:
    questions, contexts = (tf.constant([row[part] for row in rows], tf.string) for part in (0, 1))
    return encoder.encode(questions, contexts)


def spans_by_definition(question: str, context: str, sequence_length: int, overlap: int, most: int, more: int) -> Any:
    """The ranges of context tokens of each window: each is full, and the last one ends with the context."""
    room = sequence_length - more - len(tokens_of(question)[:most])
    tokens = len(tokens_of(context))
    firsts = [0]
    while firsts[-1] + room < tokens:
        firsts.append(firsts[-1] + room - overlap)
    firsts[-1] = max(0, min(firsts[-1], tokens - room))
    return [(first, min(first + room, tokens)) for first in firsts]


def as_lists(windows: QuestionWindows) -> list[list[Any]]:
    return [values.to_list() for values in windows[:5]]


OPTIONS = [(12, 3, 4, False), (9, 0, 4, True), (10, 4, 2, False), (64, 20, 8, True)]


@pytest.mark.parametrize(("sequence_length", "overlap", "most", "double"), OPTIONS)
@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_windows_are_those_of_the_definition(
    sequence_length: int, overlap: int, most: int, double: bool, rows: list[tuple[str, str]]
) -> None:
    encoder = encoder_of(sequence_length, overlap, most, double=double)
    separator = [SEPARATOR] * (1 + double)
    wanted: list[list[Any]] = [[] for _ in range(5)]
    firsts, counts, lost = [], [], []
    for question, context in rows:
        asked, tokens = tokens_of(question), tokens_of(context)
        spans = spans_by_definition(question, context, sequence_length, overlap, most, 3 + double)
        before = [START, *(token for token, *_ in asked[:most]), *separator]
        for first, end in spans:
            part, nothing = tokens[first:end], [0] * len(before)
            wanted[0].append([*before, *(token for token, *_ in part), END])
            wanted[1].append([*nothing, *[int(not double)] * (len(part) + 1)])
            wanted[2].append([*nothing, *(start for _, start, _ in part), 0])
            wanted[3].append([*nothing, *(end for *_, end in part), 0])
            wanted[4].append([*nothing, *[1] * len(part), 0])
        firsts += [first for first, _ in spans]
        counts.append(len(spans))
        lost.append(max(0, len(asked) - most))
    found = encode(encoder, rows)
    assert as_lists(found) == wanted
    assert [values.numpy().tolist() for values in found[5:]] == [firsts, counts, lost]
    assert {values.dtype for values in found} == {tf.int32}
    assert max(found.ids.row_lengths()) <= sequence_length


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
def test_every_token_of_the_context_is_in_a_window_and_neighbours_share_the_overlap(rows: list[Any]) -> None:
    found = encode(encoder_of(12, 3, 4), rows)
    windows = iter(range(len(found.first_tokens)))
    for (_, context), count in zip(rows, found.windows.numpy(), strict=True):
        seen: list[set[int]] = []
        for window in (next(windows) for _ in range(count)):
            first = int(found.first_tokens[window])
            seen.append(set(range(first, first + int(tf.reduce_sum(found.in_context[window])))))
        assert set().union(*seen) == set(range(len(tokens_of(context))))
        shared = [len(one & other) for one, other in itertools.pairwise(seen)]
        assert all(number == 3 for number in shared[:-1])
        assert all(number >= 3 for number in shared[-1:])


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(st.text("ab", max_size=3), TEXT), min_size=1, max_size=3), data=st.data())
@pytest.mark.parametrize("sequence_length", [10, 30])
def test_positions_of_answers_by_brute_force(sequence_length: int, rows: list[Any], data: st.DataObject) -> None:
    found = encode(encoder_of(sequence_length, 2, 4), rows)
    answers = []
    for _, context in rows:
        places = st.integers(0, len(context))
        start, end = sorted([data.draw(places), data.draw(places)])
        answers.append((start, end) if data.draw(st.booleans()) or start else (-1, -1))
    starts, ends = ([answer[part] for answer in answers] for part in (0, 1))
    wanted = []
    for (question, context), (start, end), count in zip(rows, answers, found.windows.numpy(), strict=True):
        covering = [
            number
            for number, (_, first, last) in enumerate(tokens_of(context))
            if start >= 0 and set(range(first, last)) & set(range(start, end))
        ]
        before = 2 + len(tokens_of(question)[:4])
        spans = spans_by_definition(question, context, sequence_length, 2, 4, 3)
        assert len(spans) == count
        for first, last in spans:
            whole = covering and first <= covering[0] and covering[-1] < last
            wanted.append((before + covering[0] - first, before + covering[-1] - first) if whole else (0, 0))
    positions = answer_positions(found, tf.constant(starts), tf.constant(ends))
    assert list(zip(*(values.numpy().tolist() for values in positions), strict=True)) == wanted


def test_an_answer_inside_of_tokens_gets_them_whole() -> None:
    found = encode(encoder_of(30, 2, 4), [("a", "ab ca bc")] * 4)
    positions = answer_positions(found, tf.constant([1, 3, 2, -1]), tf.constant([4, 5, 3, -1]))
    assert [values.numpy().tolist() for values in positions] == [[3, 4, 0, 0], [4, 4, 0, 0]]
    assert found.ids[0].numpy().tolist() == [START, 97, SEPARATOR, 97 + 98, 99 + 97, 98 + 99, END]


def test_padding() -> None:
    encoder = encoder_of(12, 3, 4)
    found = encode(encoder, [("a", "b c"), ("", "")])
    features = encoder.pad(found.ids, found.segment_ids, 8)
    assert features["token_ids"].numpy().tolist() == [
        [START, 97, SEPARATOR, 98, 99, END, PAD, PAD],
        [START, SEPARATOR, END, PAD, PAD, PAD, PAD, PAD],
    ]
    assert features["padding_mask"].numpy().tolist() == [[1] * 6 + [0] * 2, [1] * 3 + [0] * 5]
    assert features["segment_ids"].numpy().tolist() == [[0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0]]
    assert encoder.pad(found.ids, found.segment_ids)["token_ids"].shape == (2, 6)
    nothing = encode(encoder, [])
    assert as_lists(nothing) == [[]] * 5
    assert encoder.pad(nothing.ids, nothing.segment_ids, 3)["token_ids"].shape == (0, 3)


def test_windows_and_positions_are_the_same_in_a_graph_of_open_shape() -> None:
    encoder = encoder_of(12, 3, 4)
    rows = [("ab é", "abcab w éé" * 5), ("", "a"), ("abcabcabcabc", "")]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2 + [tf.TensorSpec([None], tf.int32)] * 2)
    def traced(questions: tf.Tensor, contexts: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor) -> Any:
        found = encoder.encode(questions, contexts)
        return found, answer_positions(found, starts, ends)

    starts, ends = tf.constant([3, 0, -1]), tf.constant([9, 1, -1])
    windows, positions = traced(*(tf.constant([row[part] for row in rows]) for part in (0, 1)), starts, ends)
    eager = encode(encoder, rows)
    assert as_lists(windows) == as_lists(eager)
    for one, other in zip(
        (*windows[5:], *positions), (*eager[5:], *answer_positions(eager, starts, ends)), strict=True
    ):
        assert one.numpy().tolist() == other.numpy().tolist()
    assert max(positions[0].numpy()) > 0


CONTEXTS = [
    "The film was made in Köln, in 1987; its cast was charming and its music awful. " * 3,
    "中文 and a café with \U0001f600 emoji: naïve façade? " * 4,
    "short",
    "",
]
QUESTIONS = ["Where was the film made?", "what?", "Who, in 中文, is charming?", "Why"]


@pytest.mark.parametrize(("family", "double"), [("uncased", False), ("roberta", True)])
@pytest.mark.parametrize(("sequence_length", "overlap"), [(48, 12), (400, 100)])
def test_windows_are_those_of_hugging_face(family: str, double: bool, sequence_length: int, overlap: int) -> None:
    """Apart from the last window of a row, which there begins where the one before it makes it."""
    chosen = of(family)
    start, end = chosen.layer.start_token_id, chosen.layer.end_token_id
    reference = tokenizers.Tokenizer.from_str(chosen.reference.to_str())
    if not double:  # RoBERTa's has its processor
        reference.post_processor = processors.BertProcessing(("[SEP]", end), ("[CLS]", start))
    reference.enable_truncation(sequence_length, stride=overlap, strategy="only_second")
    encoder = QuestionEncoder(
        lambda: chosen.offsets,
        start_ids=[start],
        separator_ids=[end] * (1 + double),
        end_ids=[end],
        pad_id=0,
        context_segment_id=int(not double),
        sequence_length=sequence_length,
        overlap=overlap,
        max_question_tokens=30,
    )
    found = encode(encoder, list(zip(QUESTIONS, CONTEXTS, strict=True)))
    assert not found.lost_question_tokens.numpy().any()
    rows = iter(zip(*as_lists(found), strict=True))
    most = 0
    for question, context, count in zip(QUESTIONS, CONTEXTS, found.windows.numpy(), strict=True):
        whole = reference.encode(question, context)
        theirs = [whole, *whole.overflowing]
        assert len(theirs) == count
        most = max(most, count)
        for number, encoding in enumerate(theirs):
            ours = list(zip(*next(rows), strict=True))
            part = [place for place, sequence in enumerate(encoding.sequence_ids) if sequence == 1]
            spans = [encoding.offsets[place] if place in part else (0, 0) for place in range(len(encoding.ids))]
            wanted = [
                (token, segment, *span, int(place in part))
                for place, (token, segment, span) in enumerate(zip(encoding.ids, encoding.type_ids, spans, strict=True))
            ]
            if number and number == count - 1:  # ours begins earlier
                begin = part[0] if part else len(wanted) - 1
                assert len(ours) == sequence_length
                assert ours[:begin] == wanted[:begin]
                assert ours[len(ours) - len(wanted) + begin :] == wanted[begin:]
            else:
                assert ours == wanted
    assert most > 3 or sequence_length == 400


def test_a_sentencepiece_tokenizer_is_made_anew_after_seeding() -> None:
    layer = CASES["deberta_v3"]().layer
    proto = layer.proto
    encoder = QuestionEncoder(
        lambda: token_offsets(layer, segmentation_of(layer)),
        start_ids=[1],
        separator_ids=[2],
        end_ids=[2],
        pad_id=0,
        context_segment_id=0,
        sequence_length=40,
        overlap=8,
        max_question_tokens=16,
        renew=lambda: layer.set_proto(proto),
    )
    rows = list(zip(QUESTIONS, CONTEXTS, strict=True))
    before = as_lists(encode(encoder, rows))
    keras.utils.set_random_seed(3)
    of.cache_clear()  # the tables of other tests are gone too
    assert as_lists(encode(encoder, rows)) == before


def test_after_export(tmp_path: Path) -> None:
    chosen = of("uncased")
    encoder = encoder_of(32, 4, 20, offsets=lambda: chosen.offsets)
    module = tf.Module()
    module.encoder = encoder

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("question", "context")])
    def serve(question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        found = encoder.encode(question, context)
        return {"ids": found.ids.to_tensor(), "starts": found.context_starts.to_tensor(), "windows": found.windows}

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": serve})
    texts = {"question": tf.constant(QUESTIONS), "context": tf.constant(CONTEXTS)}
    loaded = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](**texts)
    for name, values in serve(**texts).items():
        assert loaded[name].numpy().tolist() == values.numpy().tolist()


def test_a_tokenizer_without_offsets_says_why() -> None:
    with pytest.raises(PresetError, match="has no offsets: it is another one"):
        encode(encoder_of(12, 3, 4, offsets=lambda: "it is another one"), [("a", "b")])


@pytest.mark.parametrize(("sequence_length", "overlap", "most"), [(12, 5, 4), (7, 0, 4), (12, -1, 4), (12, 3, 0)])
def test_windows_that_do_not_get_on_are_refused(sequence_length: int, overlap: int, most: int) -> None:
    made = functools.partial(encoder_of, sequence_length, overlap, most)
    with pytest.raises(ValueError, match=r"cannot share|both need one"):
        made()
