"""Masked language modelling: continued pre-training on texts without labels, and filling in masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.learned import Learned
from tfft.data.hidden_tokens import PAIRS, TOKENS, HiddenTokens
from tfft.data.joint_rows import JointRows
from tfft.data.masked_texts import MASK, texts_with_masks, whole_texts, with_one_mask
from tfft.data.ragged_rows import RaggedRows
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples, text_examples
from tfft.heads.base import HeadPart
from tfft.metrics.language_modeling import (
    LanguageModelingMetrics,
    PairedLanguageModelingMetrics,
    language_modeling_metrics,
    with_pairs,
)
from tfft.metrics.language_modeling_baselines import UNIGRAM, order_baseline, unigram_baseline
from tfft.tasks.base import RowTargets, Targets, Task, register_task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.backbones.base import TextBackbone
    from tfft.encoding.base import EncodedRows
    from tfft.encoding.masked_texts import MaskedTextEncoding

#: Output to its head, where rows are pairs of segments.
_HEADS = {TOKENS: "masked_language_model", PAIRS: "sentence_pair"}
#: Labels of a pair: in order or not. The head of tokens has as many outputs as there are tokens, whatever it is told.
_ORDERS = 2


@dataclasses.dataclass(frozen=True)
class FilledMask:
    """What the model puts in the place of one mask.

    Attributes:
        tokens: The likeliest tokens, the best first. White space at their beginning is part of them, where the
            vocabulary has it; in WordPiece vocabularies "##" stands before what continues a word.
        probabilities: Their probabilities, among all tokens of the vocabulary.
    """

    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class FilledText:
    """What the model says of one text.

    Attributes:
        masks: Its masks, in order; those that a long text loses by truncation are left out.
    """

    masks: tuple[FilledMask, ...]


class MaskedLanguageModeling(Task):
    """Hidden tokens from what stands around them, from a column of texts.

    With `sentence_objective` texts are documents, cut into pairs of segments, and a second head says of each pair
    whether the second segment follows the first. The model then has two outputs, by name.
    """

    uses = frozenset({"mask_personal_data", "sentence_objective"})
    figures = ("loss", "perplexity", "accuracy")
    hides_tokens = True

    def figures_of(self, config: FitConfig) -> tuple[str, ...]:
        """Returns the figures of tokens, and of pairs where there are such."""
        return (*self.figures, "pair_loss", "pair_accuracy") if _has_pairs(config) else self.figures

    def head(self, config: FitConfig) -> str:
        """Returns the head whose output weights are the token embeddings; with pairs both heads, for people."""
        return ", ".join(_HEADS.values()) if _has_pairs(config) else _HEADS[TOKENS]

    def head_parts(self, config: FitConfig, learned: Learned | None) -> tuple[HeadPart, ...]:
        """Returns the head of tokens, and that of pairs where there are such."""
        if not _has_pairs(config):
            return super().head_parts(config, learned)
        return tuple(HeadPart(name, head, config, _ORDERS) for name, head in _HEADS.items())

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str]:
        """Returns the text column."""
        return [config.text_column]

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads texts; those to learn from are whole, others have masks. They are kept in memory."""
        found = text_examples(
            reader,
            text_column=config.text_column,
            label_column=None,
            how=dataclasses.replace(how, cache_dir=None),
            console=console,
        )
        return whole_texts(found) if labelled else texts_with_masks(found)

    def from_inputs(self, inputs: Any) -> TextExamples:
        """Takes a list of texts with masks.

        Args:
            inputs: What the caller gave.

        Returns:
            Examples.

        Raises:
            DataError: When it is something else, or a text has no mask.
        """
        return texts_with_masks(super().from_inputs(inputs))

    def inputs(self, examples: TextExamples) -> list[str]:
        """Returns texts with a mask in the place of the word in the middle."""
        return [with_one_mask(text) for text in examples.texts]

    def unpleasant(self, texts: Sequence[str]) -> list[str]:
        """Returns texts with masks in odd places."""
        return [*(f"{MASK}{text}" for text in texts), *(f"{text} <mask>{MASK} a" for text in texts)]

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Returns nothing: there are no labels, and the vocabulary is that of the preset."""
        return Learned([])

    def num_outputs(self, learned: Learned) -> int:
        """Returns 1: the head has as many as the vocabulary of the backbone has tokens."""
        return 1

    def targets(self, examples: TextExamples, learned: Learned) -> np.ndarray:
        """Returns zeros: what is to be predicted is known once texts are tokens."""
        return np.zeros(len(examples), np.int32)

    def token_targets(self, targets: Targets, rows: EncodedRows) -> HiddenTokens:
        """Returns the tokens, which of them are hidden for figures, and the labels of pairs."""
        found: HiddenTokens = rows.context.targets
        return found if rows.windows is None else found.joined(rows.windows)

    def row_targets(self, targets: Targets, rows: EncodedRows, learned: Learned) -> RowTargets:
        """Returns the tokens that are hidden for figures, and the labels of pairs; training hides other tokens."""
        found: HiddenTokens = rows.context.targets
        return found.labels if found.orders is None else JointRows({TOKENS: found.labels, PAIRS: found.orders.values})

    def encoding(
        self, backbone: TextBackbone, config: FitConfig, learned: Learned, sequence_length: int | None
    ) -> MaskedTextEncoding:
        """Returns the encoding of texts, or of pairs of segments, with hidden tokens."""
        from tfft.encoding.masked_pairs import MaskedPairEncoding
        from tfft.encoding.masked_texts import MaskedTextEncoding

        if config.sentence_objective == "none":
            return MaskedTextEncoding(backbone, sequence_length=sequence_length, seed=config.seed)
        return MaskedPairEncoding(
            backbone, sequence_length=sequence_length, seed=config.seed, objective=config.sentence_objective
        )

    def begin(self, head: keras.Model, targets: Any) -> None:
        """Sets the bias of the logits to log-frequencies: a few steps at a small rate would not get there."""
        from tfft.layers.masked_lm_head import MaskedLanguageModelHead

        frequencies = targets.frequencies()
        rarest = frequencies[frequencies > 0].min()
        for layer in head._flatten_layers():  # Keras has no public name for it
            if isinstance(layer, MaskedLanguageModelHead):
                layer.output_bias.assign(np.log(np.maximum(frequencies, rarest)))

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns the cross-entropy of hidden tokens, plus that of pairs; training takes the mean of each."""
        from tfft.losses.joint import JointLoss
        from tfft.losses.masked_crossentropy import LabelledCrossentropy, MaskedCrossentropy

        if not _has_pairs(config):
            return MaskedCrossentropy()
        losses = {TOKENS: MaskedCrossentropy(), PAIRS: LabelledCrossentropy()}
        return JointLoss(losses, dict.fromkeys(losses, 1.0))

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> LanguageModelingMetrics:
        """Computes the figures over all hidden tokens, and all pairs, of a split."""
        if isinstance(outputs, Mapping):
            context = outputs[TOKENS].context
            sums = outputs[PAIRS] * context.windows[:, np.newaxis]  # of documents, whose rows are averaged
            pairs = int(np.count_nonzero(context.targets.orders.values >= 0))
            return with_pairs(self.metrics(outputs[TOKENS], targets, learned), -sums[:, 0], sums[:, 1], pairs)
        counts = outputs.rows.lengths
        rows = np.repeat(np.arange(len(counts)), counts)
        log_probability, right = outputs.rows.values[:, 0], outputs.rows.values[:, 1]

        def of_rows(values: np.ndarray) -> np.ndarray:
            return np.bincount(rows, weights=values, minlength=len(counts))

        return language_modeling_metrics(-of_rows(log_probability), of_rows(right), counts)

    def restore_metrics(self, plain: Mapping[str, Any]) -> LanguageModelingMetrics:
        """Returns the figures kept in a run directory."""
        return (PairedLanguageModelingMetrics if "pairs" in plain else LanguageModelingMetrics)(**plain)

    def baselines(
        self,
        train: tuple[TextExamples, Any],
        test: tuple[TextExamples, Any],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, LanguageModelingMetrics]:
        """Returns the figures of the frequencies of tokens, and of the labels of pairs."""
        known: HiddenTokens = train[1]
        hidden: RaggedRows = test[1].labels
        found = unigram_baseline(known.frequencies(), hidden.values, hidden.lengths)
        if known.orders is None:
            return found
        return order_baseline(found[UNIGRAM], known.orders.values, test[1].orders.values)

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[FilledText]:
        """Turns what is kept of each mask into tokens."""
        vocabulary = rows.context.vocabulary
        found = []
        for row in _of_tokens(outputs).rows:
            ids, log_probabilities = _likeliest(row)
            masks = zip(ids.astype(np.int64).tolist(), np.exp(log_probabilities).tolist(), strict=True)
            found.append(
                FilledText(
                    tuple(FilledMask(tuple(vocabulary[number] for number in best), tuple(p)) for best, p in masks)
                )
            )
        return found

    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns the likeliest tokens of each mask, filled up to the most masks of any text with "" and 0.

        `tokens`, string, and `probabilities`, float32, of shape `(batch, masks, 5)`.
        """
        import tensorflow as tf

        ids, log_probabilities = _likeliest(_of_tokens(outputs))
        present = tf.sequence_mask(context.masks, tf.shape(ids)[1])[:, :, tf.newaxis]
        return {
            "tokens": tf.where(present, tf.gather(context.vocabulary, tf.cast(ids, tf.int32)), ""),
            "probabilities": tf.where(present, tf.exp(log_probabilities), 0.0),
        }

    def served_outputs(self, predictions: Sequence[FilledText], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the tensors of `serve` for predictions of `decode`."""
        masks = max((len(item.masks) for item in predictions), default=0)
        most = max((len(mask.tokens) for item in predictions for mask in item.masks), default=0)
        tokens = np.full((len(predictions), masks, most), "", object)
        probabilities = np.zeros((len(predictions), masks, most), np.float32)
        for row, item in enumerate(predictions):
            for place, mask in enumerate(item.masks):
                tokens[row, place], probabilities[row, place] = mask.tokens, mask.probabilities
        return {"tokens": tokens, "probabilities": probabilities}

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 short film opinions."""
        opinions = ("wonderful", "moving", "funny", "brilliant", "charming", "dull", "awful", "boring", "weak", "silly")
        things = ("film", "plot", "cast", "music", "ending", "script")
        texts = [f"the {thing} was {word}" for thing in things for word in opinions]
        return pd.DataFrame(texts, columns=["text"])


def _has_pairs(config: FitConfig) -> bool:
    return config.sentence_objective != "none"


def _of_tokens(outputs: Any) -> Any:
    """Returns what the model says of hidden tokens; of pairs there are none where masks are filled in."""
    return outputs[TOKENS] if isinstance(outputs, Mapping) else outputs


def _likeliest(columns: Any) -> tuple[Any, Any]:
    """Returns ids and log-probabilities of the likeliest tokens, each of shape `(..., most)`; see `PredictedTokens`."""
    most = (columns.shape[-1] - 2) // 2
    return columns[..., 2 : 2 + most], columns[..., 2 + most :]


register_task("masked_language_modeling")(MaskedLanguageModeling())
