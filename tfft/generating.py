"""Writing texts with a trained model: the search in the graph, and its run over a whole split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.config.sequence_options import DecodingOptions
from tfft.console import Console
from tfft.data.pipeline import inference_dataset
from tfft.decoding.beam_search import beam_search
from tfft.decoding.hypotheses import Hypotheses
from tfft.decoding.options import BeamOptions, LengthOptions, SamplingOptions, SpecialTokens
from tfft.decoding.sampling import greedy_search, sample
from tfft.encoding.base import EncodedRows
from tfft.layers.preset_tokenizer import PresetTokenizer
from tfft.layers.sequence_tokenizer import SequenceTokenizer

#: What is said of each row, the best text first.
TEXTS, LOG_PROBABILITIES, SCORES = "texts", "log_probabilities", "scores"


class Generator:
    """Writes texts for sources."""

    def __init__(
        self,
        begin: Callable[[Mapping[str, Any], int], tuple[Any, Any, Any]],
        names: Sequence[str],
        tokenizer: SequenceTokenizer | PresetTokenizer,
        options: DecodingOptions,
        *,
        special_tokens: int,
    ) -> None:
        """Creates a generator.

        Args:
            begin: From token features of sources, and the most tokens of a text, to step, state and constants.
            names: The token features that it takes.
            tokenizer: That of what is written.
            options: How texts are searched for.
            special_tokens: Tokens of a source that are not of its text, and do not make the text longer.
        """
        self.tokenizer = tokenizer
        #: Whether texts are drawn, not searched for.
        self.draws = options.sampling
        self._begin, self._names, self._options = begin, tuple(names), options
        self._special_tokens = special_tokens
        self._tokens = SpecialTokens(
            pad=tokenizer.pad_id, start=tokenizer.start_ids[-1], end=tokenizer.end_id, banned=tokenizer.banned_ids
        )
        self._lengths = LengthOptions(
            most=options.max_length,
            ratio=options.max_length_ratio,
            offset=options.max_length_offset,
            penalty=options.length_penalty,
        )
        self._traced: Any = None

    def __call__(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Writes texts in the graph.

        Args:
            features: What the encoder takes; others are left out.

        Returns:
            `texts`, strings, and `log_probabilities` and `scores`, float32, all of shape `(batch, n_best)`.
        """
        found = self._hypotheses({name: features[name] for name in self._names})
        rows, count = tf.shape(found.ids)[0], self._options.n_best
        texts = self.tokenizer.detokenize(tf.reshape(found.ids, [rows * count, self._options.max_length]))
        return {
            TEXTS: tf.ensure_shape(tf.reshape(texts, [rows, count]), [None, count]),
            LOG_PROBABILITIES: tf.ensure_shape(found.log_probabilities, [None, count]),
            SCORES: tf.ensure_shape(found.scores, [None, count]),
        }

    def outputs(self, rows: EncodedRows, *, batch_size: int, console: Console, what: str) -> dict[str, np.ndarray]:
        """Writes texts for all rows, in the order of the rows.

        Args:
            rows: The rows; of what is known of them, the encoder takes the sources.
            batch_size: Rows per batch.
            console: Where progress is shown.
            what: What is being done, for the progress bar.

        Returns:
            What a call gives, of shape `(rows, n_best)`.
        """
        if self._traced is None:
            specs = {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in self._names}
            self._traced = tf.function(self._hypotheses, autograph=False).get_concrete_function(specs)
        count, lengths = self._options.n_best, rows.lengths
        texts = np.full((len(lengths), count), "", object)
        log_probabilities, scores = (np.zeros((len(lengths), count), np.float32) for _ in range(2))
        dataset, batches = inference_dataset(rows.gather, lengths, batch_size=batch_size)
        with console.progress(what, len(lengths), "rows") as advance:
            for inputs, batch in zip(dataset, batches, strict=True):
                found = self._traced({name: inputs[name] for name in self._names})
                # Not in the traced graph: seeding TensorFlow deletes the tables that it would hold.
                flat = self.tokenizer.detokenize(tf.reshape(found.ids, [-1, self._options.max_length])).numpy()
                texts[batch.rows] = np.array([text.decode("utf-8", "replace") for text in flat], object).reshape(
                    -1, count
                )
                log_probabilities[batch.rows] = found.log_probabilities.numpy()
                scores[batch.rows] = found.scores.numpy()
                advance(len(batch.rows))
        return {TEXTS: texts, LOG_PROBABILITIES: log_probabilities, SCORES: scores}

    def _hypotheses(self, inputs: Mapping[str, tf.Tensor]) -> Hypotheses:
        step, state, constants = self._begin(inputs, self._options.max_length)
        options = self._options
        shared: dict[str, Any] = {
            "tokens": self._tokens,
            "lengths": self._lengths,
            "source_lengths": tf.maximum(tf.reduce_sum(inputs["padding_mask"], axis=1) - self._special_tokens, 0),
            "constants": constants,
        }
        if options.sampling:
            sampling = SamplingOptions(
                temperature=options.temperature, top_k=options.top_k, top_p=options.top_p, samples=options.n_best
            )
            return sample(step, state, options=sampling, seed=tf.constant([options.seed, 0]), **shared)
        if options.beams == 1:
            return greedy_search(step, state, **shared)
        beams = BeamOptions(beams=options.beams, n_best=options.n_best)
        return beam_search(step, state, options=beams, **shared)
