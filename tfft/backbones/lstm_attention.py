"""The encoder of sequences that is trained from scratch: a bidirectional LSTM over tokens of its own."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tfft.backbones.base import TextBackbone
from tfft.config.nested import parse_nested
from tfft.config.sequence_options import EncoderOptions
from tfft.core.errors import ArtifactError, ConfigError
from tfft.core.special_ids import END, PAD, START
from tfft.layers.layer_seeds import layer_seeds
from tfft.layers.masked_lstm import MaskedLSTM
from tfft.layers.sequence_tokenizer import SequenceTokenizer
from tfft.layers.tokenizer_files import load_tokenizer, save_tokenizer, tokenizer_from

#: The name of the preset.
LSTM_ATTENTION = "lstm_attention"

_CONFIG, _WEIGHTS, _TOKENIZER = "lstm_attention.json", "model.weights.h5", "tokenizer"
_FORMAT = "tfft lstm_attention encoder, version 1"
_NO_TWIN = "its tokens were learned from the training rows"


@dataclasses.dataclass(frozen=True)
class SequenceBackbone(TextBackbone):
    """A backbone of the preset "lstm_attention".

    Attributes:
        options: What it was made with.
    """

    options: EncoderOptions = EncoderOptions()


def sequence_backbone(
    tokenizer: Mapping[str, Any], options: EncoderOptions, *, seed: int, precision: str = "float32"
) -> SequenceBackbone:
    """Makes a bidirectional LSTM over token embeddings with random weights. Padding changes nothing for other tokens.

    Args:
        tokenizer: What `learn_tokenizer` gave of the training sources.
        options: Sizes.
        seed: Decides the weights.
        precision: Keras dtype policy that it computes with; its weights are float32 in each.

    Returns:
        The backbone.
    """
    return _backbone(LSTM_ATTENTION, tokenizer_from(tokenizer), options, seed, precision)


def save_sequence_backbone(backbone: SequenceBackbone, directory: Path) -> None:
    """Writes weights, options and tokenizer: HDF5, JSON and the SentencePiece model.

    Args:
        backbone: What `sequence_backbone` or `load_sequence_backbone` returned.
        directory: Where to write; created.
    """
    save_tokenizer(backbone.tokenizer, directory / _TOKENIZER)
    document = {"format": _FORMAT, "options": dataclasses.asdict(backbone.options)}
    (directory / _CONFIG).write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    backbone.model.save_weights(directory / _WEIGHTS)


def is_sequence_backbone(directory: Path) -> bool:
    """Tells whether a directory holds what `save_sequence_backbone` wrote."""
    return (directory / _CONFIG).is_file()


def load_sequence_backbone(directory: Path, *, precision: str = "float32") -> SequenceBackbone:
    """Loads what `save_sequence_backbone` wrote; its outputs are the same to the bit.

    Args:
        directory: The directory.
        precision: Keras dtype policy that it computes with.

    Returns:
        The backbone.

    Raises:
        ArtifactError: When a file is missing, or was altered.
    """
    try:
        document = json.loads((directory / _CONFIG).read_text("utf-8"))
        if document["format"] != _FORMAT:
            raise ArtifactError(f"{directory / _CONFIG} is a {document['format']!r}; this version reads {_FORMAT!r}.")
        options = parse_nested(EncoderOptions, document["options"], "encoder")
        backbone = _backbone(str(directory), load_tokenizer(directory / _TOKENIZER), options, 0, precision)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of weights that are left as they were drawn
            backbone.model.load_weights(directory / _WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, UserWarning, ConfigError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ArtifactError(f"{directory} holds no whole {LSTM_ATTENTION!r} backbone: {reason}") from error
    return backbone


def _backbone(
    preset: str, tokenizer: SequenceTokenizer, options: EncoderOptions, seed: int, precision: str
) -> SequenceBackbone:
    model = _model(tokenizer.vocabulary_size, options, seed, precision)
    return SequenceBackbone(
        preset=preset,
        model=model,
        trunk=model,
        tokenizer=tokenizer,
        word_piece=_NO_TWIN,
        start_ids=(START,),
        end_ids=(END,),
        pad_id=PAD,
        max_sequence_length=None,
        hidden_dim=options.hidden_dim,
        causal=False,
        segmentation=_NO_TWIN,
        options=options,
    )


def _model(vocabulary_size: int, options: EncoderOptions, seed: int, precision: str) -> keras.Model:
    """From `token_ids` and `padding_mask`, int32 `(batch, length)`, to features, `(batch, length, hidden_dim)`."""
    of_embedding, *seeds = layer_seeds(seed, 1 + 2 * options.layers)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
    hidden = keras.layers.Embedding(
        vocabulary_size,
        options.embedding_dim,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=options.embedding_dim**-0.5, seed=of_embedding),
        dtype=precision,
        name="token_embedding",
    )(inputs["token_ids"])
    for number in range(options.layers):
        sides = []
        for place, side in enumerate(("forward", "backward")):
            lstm = MaskedLSTM(
                options.hidden_dim // 2,
                go_backwards=side == "backward",
                dropout=options.dropout,
                recurrent_dropout=options.recurrent_dropout,
                seed=seeds[2 * number + place],
                dtype=precision,
                name=f"{side}_lstm_{number}",
            )
            sides.append(lstm(hidden, mask=inputs["padding_mask"])[0])
        hidden = keras.layers.Concatenate(dtype=precision, name=f"bilstm_{number}")(sides)
    return keras.Model(inputs, hidden, name=LSTM_ATTENTION)
