"""Sequence to sequence: a text is read, another one written, such as its translation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.config.nested import parse_nested
from tfft.config.sequence_options import DecoderOptions, LengthLimits
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, unknown_name
from tfft.core.learned import Learned
from tfft.data.integer_texts import numbers_as_words, read_vocabulary
from tfft.data.learned_tokenizers import learn_tokenizer
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.source_target import (
    SEPARATOR,
    SOURCE,
    TARGET,
    References,
    filter_lengths,
    source_target_examples,
    word_counts,
)
from tfft.metrics.base import Metrics
from tfft.metrics.language_modeling import language_modeling_metrics
from tfft.metrics.translation import Tokenizer, TranslationMetrics, translation_metrics
from tfft.metrics.translation_baselines import COPY, WORD_FOR_WORD, word_for_word
from tfft.tasks.base import RowTargets, Targets, Task, register_task, unlabelled

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.backbones.base import TextBackbone
    from tfft.encoding.base import EncodedRows
    from tfft.encoding.source_target import SourceTargetEncoding

#: Heads that write; the second one is the decoder that a preset itself has.
LSTM_DECODER, PRETRAINED_DECODER = HEADS = ("lstm_decoder", "pretrained_decoder")
#: Outputs by name: what `RowScores` gives, and what a generator gives.
SCORED, TEXTS, LOG_PROBABILITIES, SCORES = "scored", "texts", "log_probabilities", "scores"
#: TER is left out where texts are longer, in words: its time grows with the cube of that.
_LONG_TEXT = 60
#: Scripts without spaces between words, by ranges of code points: Thai to Khmer, kana, Chinese characters.
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF))
_CHINESE = (0x3400, 0x9FFF)


@dataclasses.dataclass(frozen=True)
class Alternative:
    """A text that was written, but is not the best one.

    Attributes:
        text: The text.
        score: Its log-probability divided by the length penalty.
        log_probability: Of the text with its end, in nats.
    """

    text: str
    score: float
    log_probability: float


@dataclasses.dataclass(frozen=True)
class GeneratedText:
    """What the model writes for one source.

    Attributes:
        text: The best text.
        score: Its log-probability divided by the length penalty.
        log_probability: Of the text with its end, in nats.
        alternatives: The next best ones, where more than one was asked for.
    """

    text: str
    score: float
    log_probability: float
    alternatives: tuple[Alternative, ...] = ()


class Seq2Seq(Task):
    """Texts for texts, from two columns."""

    uses = frozenset(
        {"source_column", "target_column", "length_filter", "decoder", "decoding", "head", "label_smoothing"}
    )
    figures = (
        "loss", "perplexity", "accuracy", "bleu", "chrf", "rouge_1", "rouge_2", "rouge_l", "exact_match", "distinct_1",
        "distinct_2",
    )  # fmt: skip

    def generates(self, config: FitConfig) -> bool:
        """Tells whether the figures of each epoch need texts: where `monitor` names one of theirs."""
        return config.monitor.removeprefix("val_") not in {"loss", "perplexity", "accuracy"}

    def head(self, config: FitConfig) -> str:
        """Returns the LSTM decoder, or the head that was chosen.

        Args:
            config: The run's options.

        Returns:
            The name of the head.

        Raises:
            ConfigError: When it is no head that writes.
        """
        head = config.head or LSTM_DECODER
        if head not in HEADS:
            raise ConfigError(unknown_name("head of seq2seq", head, HEADS))
        if head != LSTM_DECODER and config.decoder is not None:
            raise ConfigError(f"decoder has options of the LSTM decoder; with head={head!r} leave it out.")
        return head

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str]:
        """Returns both columns, or that of sources."""
        return [config.source_column, config.target_column] if labelled else [config.source_column]

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads sources, with targets where those are wanted; pairs may be left out for their lengths."""
        found = source_target_examples(
            reader,
            source_column=config.source_column,
            target_column=config.target_column if labelled else None,
            how=dataclasses.replace(how, cache_dir=None),
            console=console,
        )
        found = _with_words(found, config)
        return _filtered(found, config, console) if labelled and config.length_filter is not None else found

    def from_inputs(self, inputs: Any) -> TextExamples:
        """Takes a list of sources."""
        found = list(super().from_inputs(inputs).texts)
        return unlabelled(found, {SOURCE: found})

    def inputs(self, examples: TextExamples) -> list[str]:
        """Returns the sources."""
        return list(examples.columns[SOURCE])

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Returns the tokenizer of targets, and how BLEU finds words in them."""
        texts = examples.columns[TARGET]
        settings: dict[str, Any] = {"bleu_tokenizer": _bleu_tokenizer(texts)}
        if self.head(config) != LSTM_DECODER:
            return Learned([], settings)
        options = parse_nested(DecoderOptions, config.decoder, "decoder")
        tokenizer = learn_tokenizer(examples, "target", options)
        console.say(f"target tokenizer: {tokenizer['vocabulary_size']:,} {tokenizer['kind']} of {len(texts):,} texts")
        return Learned([], {"target_tokenizer": tokenizer, **settings})

    def num_outputs(self, learned: Learned) -> int:
        """Returns the number of tokens of the target tokenizer; 1 where that is the preset's, which knows."""
        return int(learned.settings.get("target_tokenizer", {"vocabulary_size": 1})["vocabulary_size"])

    def targets(self, examples: TextExamples, learned: Learned) -> References:
        """Returns the true texts."""
        return References(examples.columns[TARGET], examples.columns[SOURCE])

    def row_targets(self, targets: Targets, rows: EncodedRows, learned: Learned) -> RowTargets:
        """Returns zeros: what is to be written is an input of the model that is trained."""
        return np.zeros(len(rows.lengths), np.int32)

    def row_units(self, rows: EncodedRows) -> np.ndarray:
        """Returns the number of target tokens of each row: each counts the same in the loss."""
        counts: np.ndarray = np.asarray(rows.context, np.float32)
        return counts

    def encoding(
        self, backbone: TextBackbone, config: FitConfig, learned: Learned, sequence_length: int | None
    ) -> SourceTargetEncoding:
        """Returns the encoding of sources and targets."""
        from tfft.backbones.encoder_decoder import EncoderDecoderBackbone
        from tfft.encoding.source_target import SourceTargetEncoding
        from tfft.layers.tokenizer_files import tokenizer_from

        if isinstance(backbone, EncoderDecoderBackbone):
            return SourceTargetEncoding(backbone, backbone.target_tokenizer, sequence_length=sequence_length)
        tokenizer = tokenizer_from(learned.settings["target_tokenizer"])
        return SourceTargetEncoding(backbone, tokenizer, sequence_length=sequence_length)

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns the loss that takes row losses as they are: the model computes them without all logits at once."""
        from tfft.losses.row_losses import GivenLosses

        return GivenLosses()

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> Metrics:
        """Computes the figures of texts where there are any; else those of tokens after true ones."""
        sums = outputs[SCORED]
        tokens = language_modeling_metrics(sums[:, 0], sums[:, 1], sums[:, 2])
        if TEXTS not in outputs:
            return tokens
        return self._text_metrics(outputs[TEXTS][:, 0].tolist(), targets, learned, tokens.loss, tokens.accuracy)

    def _text_metrics(
        self,
        texts: list[str],
        targets: References,
        learned: Learned,
        loss: float | None = None,
        accuracy: float | None = None,
    ) -> TranslationMetrics:
        long = np.median([len(text.split()) for text in targets.texts]) > _LONG_TEXT
        tokenize: Tokenizer = learned.settings["bleu_tokenizer"]
        return translation_metrics(
            texts,
            targets.texts,
            sources=targets.sources,
            tokenize=tokenize,
            with_ter=not long,
            loss=loss,
            accuracy=accuracy,
        )

    def restore_metrics(self, plain: Mapping[str, Any]) -> TranslationMetrics:
        """Returns the metrics kept in a run directory."""
        return TranslationMetrics(**plain)

    def baselines(
        self,
        train: tuple[TextExamples, Any],
        test: tuple[TextExamples, Any],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, TranslationMetrics]:
        """Returns the figures of the sources themselves, and of a dictionary that is read word by word."""
        known: References = train[1]
        judged: References = test[1]
        written = {
            COPY: list(judged.sources),
            WORD_FOR_WORD: word_for_word(known.sources, known.texts, judged.sources),
        }
        return {name: self._text_metrics(texts, judged, learned) for name, texts in written.items()}

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[GeneratedText]:
        """Turns what was written into predictions."""
        found = []
        names = (TEXTS, SCORES, LOG_PROBABILITIES)
        for texts, scores, log_probabilities in zip(*(outputs[name] for name in names), strict=True):
            best, *others = (
                Alternative(text, float(score), float(log_probability))
                for text, score, log_probability in zip(texts, scores, log_probabilities, strict=True)
            )
            found.append(GeneratedText(best.text, best.score, best.log_probability, tuple(others)))
        return found

    def serve(self, outputs: Any, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns `text`, `score` and `log_probability` of the best texts, `(batch,)`.

        With `n_best` above 1 also all of them, best first, `(batch, n_best)`: `texts`, `scores`, `log_probabilities`.
        """
        best = {
            "text": outputs[TEXTS][:, 0],
            "score": outputs[SCORES][:, 0],
            "log_probability": outputs[LOG_PROBABILITIES][:, 0],
        }
        every = {name: outputs[name] for name in (TEXTS, SCORES, LOG_PROBABILITIES)}
        return best if outputs[TEXTS].shape[1] == 1 else best | every

    def served_outputs(self, predictions: Sequence[GeneratedText], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the tensors of `serve` for predictions of `decode`."""
        best = {
            "text": np.array([item.text for item in predictions], object),
            "score": np.array([item.score for item in predictions], np.float32),
            "log_probability": np.array([item.log_probability for item in predictions], np.float32),
        }
        if not any(item.alternatives for item in predictions):
            return best
        every = [[Alternative(item.text, item.score, item.log_probability), *item.alternatives] for item in predictions]
        return best | {
            TEXTS: np.array([[item.text for item in row] for row in every], object),
            SCORES: np.array([[item.score for item in row] for row in every], np.float32),
            LOG_PROBABILITIES: np.array([[item.log_probability for item in row] for row in every], np.float32),
        }

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 short film opinions with the same in another order of words."""
        opinions = ("wonderful", "moving", "funny", "brilliant", "charming", "dull", "awful", "boring", "weak", "silly")
        things = ("film", "plot", "cast", "music", "ending", "script")
        rows = [(f"the {thing} was {word}", f"a {word} {thing}") for thing in things for word in opinions]
        return pd.DataFrame(rows, columns=["src", "trg"])

    def sample_options(self) -> dict[str, Any]:
        """Returns a decoder as small as the data."""
        return {
            "decoder": {"tokenizer": "words", "embedding_dim": 16, "hidden_dim": 16, "dropout": 0.0},
            "decoding": {"beams": 2, "max_length": 12},
        }


def _with_words(examples: TextExamples, config: FitConfig) -> TextExamples:
    """Puts words for numbers, on sides that have a vocabulary file."""
    columns = dict(examples.columns)
    sides: dict[Literal["source", "target"], dict[str, Any] | None] = {
        "source": config.encoder, "target": config.decoder,
    }  # fmt: skip
    for side, given in sides.items():
        path = (given or {}).get("vocabulary_file")
        if path is not None and side in columns:
            columns[side] = numbers_as_words(examples, side, read_vocabulary(path))
    if columns == dict(examples.columns):
        return examples
    texts = [SEPARATOR.join(row) for row in zip(*columns.values(), strict=True)]
    return dataclasses.replace(examples, texts=texts, columns=columns)


def _filtered(examples: TextExamples, config: FitConfig, console: Console) -> TextExamples:
    limits = parse_nested(LengthLimits, config.length_filter, "length_filter")
    sources, targets = (word_counts(examples.columns[side]) for side in (SOURCE, TARGET))
    found = filter_lengths(sources, targets, **dataclasses.asdict(limits))
    if not found.dropped:
        console.say("length_filter: no pair was left out")
        return examples
    reasons = ", ".join(f"{count:,} {reason.replace('tokens', 'words')}" for reason, count in found.counts.items())
    console.say(f"length_filter: {len(examples) - len(found.kept):,} of {len(examples):,} pairs left out ({reasons})")
    if not len(found.kept):
        raise DataError(f"{examples.where}: length_filter leaves nothing ({reasons}). Raise its limits.")
    dropped = dict(examples.dropped)
    for reason, positions in found.dropped.items():
        dropped[reason.replace("tokens", "words")] = [int(row) for row in examples.rows[positions]]
    return dataclasses.replace(examples.take(found.kept), dropped=dropped)


def _bleu_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Returns how BLEU finds words: by characters where most of them are of scripts without spaces."""
    letters = [ord(character) for text in texts[:1000] for character in text if character.isalpha()]

    def share(ranges: Sequence[tuple[int, int]]) -> float:
        inside = sum(any(low <= letter <= high for low, high in ranges) for letter in letters)
        return inside / max(len(letters), 1)

    if share(_UNSPACED) <= 0.5:  # noqa: PLR2004  most
        return "13a"
    return "zh" if share([_CHINESE]) > 0.8 else "char"  # noqa: PLR2004  Japanese has kana too


register_task("seq2seq")(Seq2Seq())
