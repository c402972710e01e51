"""From scores of tokens to answers, in the graph: the same code in `predict`, in the figures and in exports."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfft.core.learned import Learned
from tfft.data.ragged_rows import SequenceOutputs
from tfft.encoding.questions import ServedWindows, WindowPlaces
from tfft.layers.answer_spans import answer_spans

#: No score of no answer is greater, so that every question gets an answer.
ALWAYS_ANSWER = 1.0
#: Windows that are decoded at once.
_WINDOWS_PER_CALL = 128


class BestAnswers(NamedTuple):
    """The best answer of each question, or that it has none.

    Attributes:
        starts: Place of its first character in the context, int32 of shape `(rows,)`; 0 for none.
        ends: Place after its last character, int32 of shape `(rows,)`; 0 for none.
        probabilities: Softmax over all answers of all windows and none, of what is said, float32 of shape `(rows,)`.
        no_answer_scores: Logistic function of the score of no answer minus that of the best one, float32 of shape
            `(rows,)`: above 0.5 when no answer is the better one; 1 where the context has no token.
    """

    starts: Any
    ends: Any
    probabilities: Any
    no_answer_scores: Any


def best_answers(
    logits: tf.Tensor,
    in_context: tf.Tensor,
    context_starts: tf.Tensor,
    context_ends: tf.Tensor,
    window_rows: tf.Tensor,
    rows: tf.Tensor,
    threshold: tf.Tensor | float,
    max_answer_tokens: int,
) -> BestAnswers:
    """Finds answers; all windows of a row have to be there.

    Args:
        logits: What the model says of tokens, float of shape `(windows, sequence_length, 2)`.
        in_context: 1 for tokens of the context, else 0, int32 of shape `(windows, sequence_length)`.
        context_starts: Place of the first character of each token, int32 of the same shape.
        context_ends: Place after its last character, int32 of the same shape.
        window_rows: The row of each window, int32 of shape `(windows,)`.
        rows: Number of rows.
        threshold: Questions whose score of no answer is greater have none.
        max_answer_tokens: Longest answer in tokens.

    Returns:
        The answers.
    """
    found = answer_spans(
        logits[..., 0],
        logits[..., 1],
        in_context=in_context,
        context_starts=context_starts,
        context_ends=context_ends,
        window_rows=window_rows,
        rows=rows,
        max_answer_tokens=max_answer_tokens,
    )
    starts, ends = found.starts[:, 0], found.ends[:, 0]
    scores = tf.sigmoid(found.null_scores - found.scores[:, 0])
    none = (scores > threshold) | (ends <= starts)
    zeros = tf.zeros_like(starts)
    probabilities = tf.where(none, found.null_probabilities, found.probabilities[:, 0])
    return BestAnswers(tf.where(none, zeros, starts), tf.where(none, zeros, ends), probabilities, scores)


def threshold_of(learned: Learned) -> float:
    """Returns the threshold on scores of no answer."""
    threshold = learned.settings["no_answer_threshold"]
    return ALWAYS_ANSWER if threshold is None else float(threshold)


def served_answers(outputs: tf.Tensor, context: ServedWindows, learned: Learned) -> dict[str, tf.Tensor]:
    """Decodes the windows of a request.

    Args:
        outputs: What the model says of tokens, float of shape `(windows, sequence_length, 2)`.
        context: The windows.
        learned: What was learned.

    Returns:
        The signature's tensors, as `QuestionAnswering.serve` names them.
    """
    rows = tf.size(context.contexts)
    found = best_answers(
        outputs, context.in_context, context.starts, context.ends, context.rows, rows, threshold_of(learned),
        learned.settings["max_answer_tokens"],
    )  # fmt: skip
    # Bytes that are no UTF-8 count as one character each run, as in the places of tokens.
    contexts = tf.strings.unicode_transcode(context.contexts, "UTF-8", "UTF-8")
    texts = tf.strings.substr(contexts, found.starts, found.ends - found.starts, unit="UTF8_CHAR")
    return {
        "answer": texts,
        "start": found.starts,
        "end": found.ends,
        "probability": found.probabilities,
        "no_answer_score": found.no_answer_scores,
    }


def decoded_answers(outputs: SequenceOutputs, places: WindowPlaces, learned: Learned, threshold: float) -> BestAnswers:
    """Decodes examples, those with windows of like length together.

    Args:
        outputs: What the model says of the tokens of examples.
        places: Their windows.
        learned: What was learned.
        threshold: Questions whose score of no answer is greater have none.

    Returns:
        The answers, as arrays.
    """
    compute = _decoder(learned.settings["max_answer_tokens"])
    count = len(places.windows)
    found = BestAnswers(*(np.zeros(count, kind) for kind in (np.int32, np.int32, np.float32, np.float32)))
    lengths, ends = np.diff(places.splits), np.cumsum(places.windows)
    widest = np.maximum.reduceat(lengths, ends - places.windows) if count else lengths
    order = np.argsort(widest, kind="stable")
    batch = np.cumsum(places.windows[order]) // _WINDOWS_PER_CALL
    for rows in np.split(order, np.flatnonzero(np.diff(batch)) + 1) if count else []:
        windows = np.concatenate([np.arange(ends[row] - places.windows[row], ends[row]) for row in rows])
        width = np.arange(lengths[windows].max())
        inside = width < lengths[windows, np.newaxis]
        tokens = np.where(inside, places.splits[windows, np.newaxis] + width, 0)
        parts = compute(
            tf.constant(outputs.rows.values[tokens]),
            *(
                tf.constant(np.where(inside, item[tokens], 0))
                for item in (places.in_context, places.starts, places.ends)
            ),
            tf.constant(np.repeat(np.arange(len(rows), dtype=np.int32), places.windows[rows])),
            tf.constant(len(rows)),
            tf.constant(threshold, tf.float32),
        )
        for values, part in zip(found, parts, strict=True):
            values[rows] = part.numpy()
    return found


@functools.lru_cache(maxsize=8)
def _decoder(max_answer_tokens: int) -> Any:
    integers = tf.TensorSpec([None, None], tf.int32)
    return tf.function(
        functools.partial(best_answers, max_answer_tokens=max_answer_tokens), autograph=False
    ).get_concrete_function(
        tf.TensorSpec([None, None, 2]), integers, integers, integers, tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([], tf.int32), tf.TensorSpec([]),
    )  # fmt: skip
