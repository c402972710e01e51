"""Questions with their contexts, in overlapping windows where a context is too long."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.console import Console
from tfft.data.feature_cache import FeatureCache
from tfft.data.question_rows import ANSWERS, QUESTIONS, first_answers
from tfft.data.schema import TextExamples
from tfft.data.squad import Answer
from tfft.encoding.base import EncodedRows, Served
from tfft.layers.question_encoder import QuestionWindows, answer_positions

#: Examples that are encoded at once.
_ROWS_PER_CALL = 256


@dataclasses.dataclass(frozen=True, eq=False)
class WindowPlaces:
    """What the tokens of windows are of their contexts; all windows end to end.

    Attributes:
        contexts: One context an example.
        in_context: 1 for tokens of the context, else 0, int32 of shape `(tokens,)`.
        starts: Place in the context of the first character of each token, int32 of shape `(tokens,)`.
        ends: Place after its last character, int32 of shape `(tokens,)`.
        splits: Where windows begin and end among the tokens, int64 of shape `(windows + 1,)`.
        windows: Windows of each example, int64 of shape `(examples,)`.
        positions: Positions of the first and of the last token of the answer in each window, 0 and 0 where it has
            none, int32 of shape `(windows, 2)`; None where answers are not known.
    """

    contexts: Sequence[str]
    in_context: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    splits: np.ndarray
    windows: np.ndarray
    positions: np.ndarray | None


class ServedWindows(NamedTuple):
    """The windows of a request, in the graph.

    Attributes:
        contexts: Strings of shape `(batch,)`.
        in_context: 1 for tokens of the context, else 0, int32 of shape `(windows, sequence_length)`.
        starts: Place in the context of the first character of each token, int32 of the same shape.
        ends: Place after its last character, int32 of the same shape.
        rows: The row of the request that each window is of, int32 of shape `(windows,)`.
    """

    contexts: tf.Tensor
    in_context: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    rows: tf.Tensor


class QuestionEncoding:
    """A question and its context an example; as many windows as the context needs."""

    inputs = ("question", "context")
    said = None

    def __init__(self, backbone: TextBackbone, *, sequence_length: int | None, overlap: float) -> None:
        """Creates the encoding.

        Args:
            backbone: The backbone; its tokenizer is used.
            sequence_length: Longest window in tokens; None for what the backbone allows.
            overlap: Share of the context of a window that the next one has as well.
        """
        self._encoder = backbone.question_encoder(sequence_length, overlap=overlap)
        self.sequence_length = self._encoder.sequence_length
        self.tables: tf.Module = self._encoder

    def encode(self, examples: TextExamples, console: Console, *, what: str) -> EncodedRows:
        """Encodes questions and contexts; of contexts nothing is truncated.

        Args:
            examples: The examples: contexts as texts, their questions, and true answers where they are known.
            console: Where progress, windows, and answers that no window holds are said.
            what: Name of the split, for messages.

        Returns:
            The rows.
        """
        total = len(examples)
        asked, answers = examples.columns[QUESTIONS], examples.columns.get(ANSWERS)
        found: list[list[np.ndarray]] = []
        with console.progress(f"tokenizing {what}", total, "rows") as advance:
            # Without rows, an empty call tells the types.
            for first in range(0, max(total, 1), _ROWS_PER_CALL):
                rows = slice(first, min(first + _ROWS_PER_CALL, total))
                windows = self._encoder.encode(_strings(asked[rows]), _strings(examples.texts[rows]))
                found.append([*_arrays(windows), _positions(windows, None if answers is None else answers[rows])])
                advance(rows.stop - rows.start)
        ids, segments, starts, ends, inside, lengths, counts, lost, positions = map(
            np.concatenate, zip(*found, strict=True)
        )
        splits = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        candidates = inside.copy()
        candidates[splits[:-1]] = 1  # the start token stands for no answer
        cache = FeatureCache(
            {"token_ids": ids, "segment_ids": segments, "candidates": candidates},
            splits,
            {"token_ids": self._encoder.pad_id},
        )
        truncated = np.flatnonzero(lost)
        self._say(console, what, counts, truncated)
        if answers is not None:
            _say_lost_answers(console, what, answers, counts, positions)
        return EncodedRows(
            gather=cache.gather,
            lengths=cache.lengths,
            full_lengths=np.add.reduceat(cache.lengths, np.cumsum(counts) - counts) + lost if total else counts,
            truncated=truncated,
            windows=counts,
            items=cache.lengths,
            context=WindowPlaces(
                examples.texts, inside, starts, ends, splits, counts, None if answers is None else positions
            ),
        )

    def _say(self, console: Console, what: str, windows: np.ndarray, truncated: np.ndarray) -> None:
        several = int(np.count_nonzero(windows > 1))
        if several:
            console.say(
                f"{what}: {several:,} of {len(windows):,} rows are longer than {self.sequence_length} tokens and are "
                f"read in {int(windows[windows > 1].sum()):,} windows"
            )
        if len(truncated):
            console.say(
                f"{what}: {len(truncated):,} questions are longer than {self._encoder.max_question_tokens} tokens and "
                "lose their end"
            )

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Encodes questions and contexts in the graph; the windows of a row follow each other."""
        found = self._encoder.encode(inputs["question"], inputs["context"])
        features = self._encoder.pad(found.ids, found.segment_ids)
        shape = tf.shape(features["token_ids"])
        inside, starts, ends = (
            tf.ensure_shape(values.to_tensor(0, shape=shape), [None, None])
            for values in (found.in_context, found.context_starts, found.context_ends)
        )
        first = tf.one_hot(tf.zeros(shape[:1], tf.int32), shape[1], dtype=tf.int32)
        rows = tf.repeat(tf.range(tf.size(found.windows)), found.windows)
        return Served(
            {**features, "candidates": inside + first}, ServedWindows(inputs["context"], inside, starts, ends, rows)
        )


def _arrays(windows: QuestionWindows) -> list[np.ndarray]:
    ragged = (windows.ids, windows.segment_ids, windows.context_starts, windows.context_ends, windows.in_context)
    return [
        *(values.flat_values.numpy() for values in ragged),
        windows.ids.row_lengths().numpy(),
        windows.windows.numpy().astype(np.int64),
        windows.lost_question_tokens.numpy(),
    ]


def _positions(windows: QuestionWindows, answers: Sequence[Sequence[Answer]] | None) -> np.ndarray:
    if answers is None:
        return np.zeros((0, 2), np.int32)
    first, last = answer_positions(windows, *map(tf.constant, first_answers(answers)))
    found: np.ndarray = np.stack([first.numpy(), last.numpy()], axis=1)
    return found


def _say_lost_answers(
    console: Console, what: str, answers: Sequence[Sequence[Answer]], windows: np.ndarray, positions: np.ndarray
) -> None:
    begins = np.cumsum(windows) - windows
    held = np.maximum.reduceat(positions[:, 0], begins) > 0 if len(windows) else np.empty(0, bool)
    lost = int(np.count_nonzero(~held & np.array([bool(row) for row in answers], dtype=bool)))
    if lost:
        console.say(
            f"{what}: the answers of {lost:,} of {len(windows):,} rows are in no window whole and count as none in the "
            "loss; raise sequence_length, or window_overlap, so that they fit"
        )


def _strings(texts: Sequence[str]) -> tf.Tensor:
    return tf.constant([text.encode("utf-8", "replace") for text in texts], tf.string, [len(texts)])
