"""Small backbones that are trained from scratch, for languages that no pretrained one at hand fits."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfft.backbones.base import TextBackbone
from tfft.core.errors import ArtifactError, ConfigError
from tfft.core.special_ids import END, PAD, SPECIAL_IDS, START, UNKNOWN
from tfft.layers.character_bigrams import CharacterBigrams
from tfft.layers.ngram_vectors import NgramVectors
from tfft.layers.vocabulary_tokenizer import (
    AFFIXES,
    SHAPES,
    Unit,
    VocabularyTokenizer,
    check_unit,
    learn_vocabulary,
)
from tfft.layers.word_dropout import WordDropout

#: The name of the preset.
BILSTM = "bilstm"

_CONFIG, _WEIGHTS = "recurrent.json", "model.weights.h5"
_FORMAT = "tfft recurrent backbone, version 3"
#: What the weights and the dropout of one layer draw from, and those of the rest.
_SEEDS_A_LAYER, _SEEDS = 7, 7
#: Buckets of pairs of characters, and of n-grams: primes.
_BIGRAMS, _NGRAMS = 100_003, 200_003
#: Up to three characters, up to two places away, as in the baseline of the report (`metrics/tagging_baselines.py`).
_CHARACTER_SPANS = (
    *((0, place, place) for place in range(-2, 3)), *((0, place, place + 1) for place in range(-2, 2)),
    *((0, place, place + 2) for place in range(-2, 1)),
)  # fmt: skip
#: Words up to two places away, pairs of neighbours; shape, prefix and suffix up to one place away.
_WORD_SPANS = (
    *((0, place, place) for place in range(-2, 3)), (0, -1, 0), (0, 0, 1),
    *((feature, place, place) for feature in (1, 2, 3) for place in range(-1, 2)), (1, -1, 0), (1, 0, 1),
)  # fmt: skip
_NO_TWIN = "its vocabulary is one of whole words or characters"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecurrentOptions:
    """Options of the preset "bilstm".

    Attributes:
        embedding_dim: Size of the vector of a word, or a character.
        shape_dim: Size of the vector of its shape, its prefix and its suffix, each; they come after that of the word.
        bigram_dim: Size of the vector of a character with the one before, and of that with the next one; 0 for none.
            Words have none.
        ngram_dim: Size of the vector that n-grams around a token have together; it comes behind the output of the
            LSTM, so that the head sees both (Cheng et al. 2016). 0 for none: with few rows it may help much, or harm.
        ngram_dropout: Share of these n-grams that is dropped in training.
        hidden_dim: Size of the output of the LSTM, half of it for each direction.
        layers: Number of bidirectional layers.
        dropout: Share of embedding dimensions that are dropped, for all words of a row alike, and of the outputs of
            each layer.
        word_dropout: Share of words whose own vector is that of unknown ones, in training; so their shape, prefix and
            suffix, or the characters around, have to tell what they are.
        vocabulary_size: Most words that have a vector of their own.
        min_count: How often training rows must have such a word; the others share one vector, which would not be
            trained if there were none.
        unit: Whether words have vectors, or the characters they consist of.
        lowercase: Whether a word has one vector, however it is capitalised.
        normalize_digits: Whether words have one vector that differ in digits alone.
    """

    embedding_dim: int = 128
    shape_dim: int = 32
    bigram_dim: int = 32
    ngram_dim: int = 0
    ngram_dropout: float = 0.3
    hidden_dim: int = 256
    layers: int = 2
    dropout: float = 0.5
    word_dropout: float = 0.2
    vocabulary_size: int = 30_000
    min_count: int = 2
    unit: Unit = "word"
    lowercase: bool = True
    normalize_digits: bool = False

    def __post_init__(self) -> None:
        """Checks the ranges; those of the vocabulary are checked where it is learned.

        Raises:
            ConfigError: When a value is out of range.
        """
        check_unit(self.unit)
        for name in ("embedding_dim", "shape_dim", "hidden_dim", "layers", "vocabulary_size", "min_count"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.")
        for name in ("bigram_dim", "ngram_dim"):
            value = getattr(self, name)
            if value < 0:
                raise ConfigError(f"{name} is {value}; it must be at least 0.")
        if self.hidden_dim % 2:
            raise ConfigError(f"hidden_dim is {self.hidden_dim}; it must be even, half for each direction.")
        for name in ("dropout", "word_dropout", "ngram_dropout"):
            rate = getattr(self, name)
            if not 0 <= rate < 1:
                raise ConfigError(f"{name} is {rate}; it must be from 0 to below 1.")


@dataclasses.dataclass(frozen=True)
class RecurrentBackbone(TextBackbone):
    """A backbone of the preset "bilstm".

    Attributes:
        options: What it was made with.
    """

    options: RecurrentOptions = RecurrentOptions()


def recurrent_backbone(
    words: Iterable[str], options: RecurrentOptions, *, seed: int, precision: str = "float32"
) -> RecurrentBackbone:
    """Makes a bidirectional LSTM over word features with random weights (Lample et al. 2016, arXiv:1603.01360).

    A word enters as its own vector beside those of its shape, its prefix and its suffix, which words that training
    lacks have too; a character as its own vector beside that of its kind and those of it with its neighbours. Padding
    changes nothing for other tokens.

    Args:
        words: The words of the training rows, with repetitions: the vocabulary is learned from them.
        options: Sizes.
        seed: Decides the weights.
        precision: Keras dtype policy that it computes with; its weights are float32 in each.

    Returns:
        The backbone. Its tokenizer gives one id for each word, so texts have to be cut into words first.

    Raises:
        ConfigError: When an option is out of range.
    """
    vocabulary = learn_vocabulary(
        words,
        size=options.vocabulary_size,
        min_count=options.min_count,
        unit=options.unit,
        lowercase=options.lowercase,
        normalize_digits=options.normalize_digits,
    )
    return _backbone(BILSTM, vocabulary, options, seed, precision)


def save_recurrent(backbone: RecurrentBackbone, directory: Path) -> None:
    """Writes weights, options and vocabulary: HDF5 and JSON.

    Args:
        backbone: What `recurrent_backbone` or `load_recurrent` returned.
        directory: Where to write; created.
    """
    directory.mkdir(parents=True, exist_ok=True)
    document = {
        "format": _FORMAT,
        "options": dataclasses.asdict(backbone.options),
        "vocabulary": list(backbone.tokenizer.vocabulary),
    }
    (directory / _CONFIG).write_text(json.dumps(document, ensure_ascii=False, indent=0) + "\n", "utf-8")
    backbone.model.save_weights(directory / _WEIGHTS)


def is_recurrent(directory: Path) -> bool:
    """Tells whether a directory holds what `save_recurrent` wrote."""
    return (directory / _CONFIG).is_file()


def load_recurrent(
    directory: Path, *, precision: str = "float32", quantize: Callable[[keras.Model], None] | None = None
) -> RecurrentBackbone:
    """Loads what `save_recurrent` wrote; its outputs are the same to the bit.

    Args:
        directory: The directory.
        precision: Keras dtype policy that it computes with.
        quantize: Quantizes a backbone as the one that was written.

    Returns:
        The backbone.

    Raises:
        ArtifactError: When a file is missing, or was altered.
    """
    try:
        document = json.loads((directory / _CONFIG).read_text("utf-8"))
        if document["format"] != _FORMAT:
            raise ArtifactError(f"{directory / _CONFIG} is a {document['format']!r}; this version reads {_FORMAT!r}.")
        options = RecurrentOptions(**document["options"])
        backbone = _backbone(str(directory), tuple(document["vocabulary"]), options, 0, precision)
        if quantize is not None:
            quantize(backbone.model)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of weights that are left as they were drawn
            backbone.model.load_weights(directory / _WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, UserWarning, ConfigError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ArtifactError(f"{directory} holds no whole {BILSTM!r} backbone: {reason}") from error
    return backbone


def _backbone(
    preset: str, vocabulary: tuple[str, ...], options: RecurrentOptions, seed: int, precision: str
) -> RecurrentBackbone:
    tokenizer = VocabularyTokenizer(
        vocabulary, unit=options.unit, lowercase=options.lowercase, normalize_digits=options.normalize_digits
    )
    model = _model(tokenizer, options, seed, precision)
    return RecurrentBackbone(
        preset=preset,
        model=model,
        trunk=model,
        tokenizer=tokenizer,
        word_piece=_NO_TWIN,
        start_ids=(START,),
        end_ids=(END,),
        pad_id=PAD,
        max_sequence_length=None,
        hidden_dim=int(model.output.shape[-1]),
        causal=False,
        segmentation=_NO_TWIN,
        options=options,
    )


def _model(tokenizer: VocabularyTokenizer, options: RecurrentOptions, seed: int, precision: str) -> keras.Model:
    """From `token_ids` and `padding_mask`, int32 `(batch, length)`, to features, `(batch, length, hidden_dim)`."""
    seeds = map(int, np.random.default_rng(seed).integers(2**31, size=_SEEDS + _SEEDS_A_LAYER * options.layers))
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
    numbers = tokenizer.token_features()(inputs["token_ids"])
    tables = {
        "token": (len(tokenizer.vocabulary) + SPECIAL_IDS, options.embedding_dim),
        "shape": (SHAPES + 1, options.shape_dim),
    }
    if options.unit == "word":
        tables |= {"prefix": (AFFIXES + 1, options.shape_dim), "suffix": (AFFIXES + 1, options.shape_dim)}

    def table(name: str, rows: int, size: int) -> Any:
        initializer = keras.initializers.RandomUniform(seed=next(seeds))
        return keras.layers.Embedding(
            rows, size, embeddings_initializer=initializer, dtype=precision, name=f"{name}_embedding"
        )

    ids = numbers._asdict()
    ids["token"] = WordDropout(options.word_dropout, unknown=UNKNOWN, seed=next(seeds), name="word_dropout")(
        numbers.token
    )
    embedded = [table(name, *size)(ids[name]) for name, size in tables.items()]
    if options.unit == "character" and options.bigram_dim:
        bigrams = table("bigram", _BIGRAMS, options.bigram_dim)
        embedded += map(bigrams, CharacterBigrams(_BIGRAMS, name="bigrams")(numbers.token, inputs["padding_mask"]))
    hidden = keras.layers.Concatenate(dtype=precision, name="embeddings")(embedded)
    dropped = keras.layers.SpatialDropout1D(options.dropout, seed=next(seeds), dtype=precision, name="whole_dropout")
    hidden, mask = dropped(hidden), keras.ops.not_equal(inputs["padding_mask"], 0)
    for number in range(options.layers):
        # Made one by one: a copy of the forward layer would begin with the same weights.
        forward, backward = (_lstm(options.hidden_dim // 2, backwards, seeds, precision) for backwards in (False, True))
        layer = keras.layers.Bidirectional(forward, backward_layer=backward, dtype=precision, name=f"bilstm_{number}")
        hidden = layer(hidden, mask=mask)
        dropout = keras.layers.Dropout(options.dropout, seed=next(seeds), dtype=precision, name=f"dropout_{number}")
        hidden = dropout(hidden)
    if options.ngram_dim:
        features = [ids for ids in numbers if ids is not None]
        ngrams = NgramVectors(
            options.ngram_dim,
            _CHARACTER_SPANS if options.unit == "character" else _WORD_SPANS,
            buckets=_NGRAMS,
            dropout=options.ngram_dropout,
            seed=next(seeds),
            dtype=precision,
            name="ngrams",
        )
        wide = ngrams(features, inputs["padding_mask"])
        hidden = keras.layers.Concatenate(dtype=precision, name="deep_and_wide")([hidden, wide])
    return keras.Model(inputs, hidden, name=BILSTM)


def _lstm(units: int, backwards: bool, seeds: Iterator[int], precision: str) -> Any:
    return keras.layers.LSTM(
        units,
        return_sequences=True,
        go_backwards=backwards,
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
        seed=next(seeds),
        dtype=precision,
        name="backward_lstm" if backwards else "lstm",
    )
