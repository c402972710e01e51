"""What a loaded backbone is to the rest of tfft."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import keras

from tfft.core.errors import ConfigError
from tfft.layers.byte_pair_offsets import BytePair
from tfft.layers.fast_wordpiece import FastTokenizer, WordPiece, fast_tokenizer
from tfft.layers.inference_mode import InferenceMode
from tfft.layers.question_encoder import QuestionEncoder
from tfft.layers.sentence_piece_offsets import SentencePiece
from tfft.layers.text_encoder import TextEncoder
from tfft.layers.token_offsets import Segmentation, WithOffsets, token_offsets

#: Used when neither the user nor the backbone says how long a row may be.
DEFAULT_SEQUENCE_LENGTH = 512
#: Longest question in tokens, as in BERT's script for SQuAD; in short rows at most half of what there is room for.
MAX_QUESTION_TOKENS = 64


@dataclasses.dataclass(frozen=True)
class TextBackbone:
    """A pretrained text encoder with its tokenizer.

    Attributes:
        preset: The name it was loaded by.
        model: The KerasHub backbone, whole.
        trunk: The part of it from token features to token vectors; what hangs off the side is left out, such as BERT's
            pooler, whose variables would never get a gradient.
        tokenizer: Layer from strings to ragged token ids; it is what presets are saved with.
        word_piece: What the tokenizer does, where it is KerasHub's WordPiece; otherwise why it has no faster twin.
        start_ids: Ids put before a text.
        end_ids: Ids put after a text.
        pad_id: Id that fills a row.
        max_sequence_length: Longest row in tokens that the position embeddings allow; None when there is no limit.
        hidden_dim: Size of a token vector.
        causal: Whether a token sees only those before it.
        segmentation: What the tokenizer does, of whatever family it is; otherwise why its tokens have no offsets.
        separator_ids: Ids put between two texts of one row; empty where the tokenizer has no token for that.
        num_segments: How many texts of one row the model can tell apart by their segment ids.
    """

    preset: str
    model: keras.Model
    trunk: keras.Model
    tokenizer: Any
    word_piece: WordPiece | str
    start_ids: tuple[int, ...]
    end_ids: tuple[int, ...]
    pad_id: int
    max_sequence_length: int | None
    hidden_dim: int
    causal: bool
    segmentation: Segmentation | str = "nobody said what its tokenizer does"
    separator_ids: tuple[int, ...] = ()
    num_segments: int = 1

    @functools.cached_property
    def fast_tokenizer(self) -> FastTokenizer:
        """What to tokenize with: ids are those of `tokenizer`, faster where that is proven; else the reason why not."""
        return fast_tokenizer(self.tokenizer, self.word_piece)

    @functools.cached_property
    def offsets(self) -> WithOffsets | str:
        """The tokenizer with the span of each token in the text; or why there is none."""
        return token_offsets(self.tokenizer, self.segmentation)

    @property
    def word_prefix(self) -> str:
        """What a word alone is prefixed with, so that its tokens are those it has inside a sentence."""
        return " " if isinstance(self.segmentation, BytePair) else ""

    @functools.cached_property
    def unknown_id(self) -> int:
        """The id of what has no token of its own; byte pair tokenizers need none and have that of padding."""
        if isinstance(self.segmentation, SentencePiece):
            import sentencepiece

            number = sentencepiece.SentencePieceProcessor(model_proto=self.segmentation.proto).unk_id()
            return int(self.segmentation.ids[number])
        own = getattr(self.tokenizer, "unk_token_id", None)
        if own is not None:
            return int(own)
        unknown = getattr(self.tokenizer, "oov_token", None)
        return self.pad_id if unknown is None else int(self.tokenizer.token_to_id(unknown))

    @functools.cached_property
    def blocks(self) -> tuple[Any, ...]:
        """The transformer layers in order, from the input up: the largest group of layers of one composite class."""
        groups: dict[type, list[Any]] = {}
        for layer in self.trunk.layers:
            if any(True for _ in layer._flatten_layers(include_self=False)):
                groups.setdefault(type(layer), []).append(layer)
        # Among groups of one, the last: embeddings come first.
        largest: list[Any] = max(reversed(list(groups.values())), key=len, default=[])
        return tuple(largest)

    def depth(self, variable: Any) -> int | None:
        """Returns how deep in the backbone a variable is: 0 for embeddings, then the number of its block from 1.

        Args:
            variable: A Keras variable.

        Returns:
            The depth; that of the last block for what comes after it; None for a variable of something else.
        """
        return self._depths.get(id(variable))

    @functools.cached_property
    def _depths(self) -> dict[int, int]:
        numbers = {id(layer): number for number, layer in enumerate(self.blocks, 1)}
        depths, reached = {}, 0
        for layer in self.trunk.layers:
            reached = max(reached, numbers.get(id(layer), 0))
            depths.update({id(variable): numbers.get(id(layer), reached) for variable in layer.variables})
        return depths

    def encoder(self, sequence_length: int | None) -> TextEncoder:
        """Returns the text encoder.

        Args:
            sequence_length: Longest row in tokens; None for what the backbone allows.

        Returns:
            An encoder that adds this backbone's start and end tokens.
        """
        return TextEncoder(
            self.tokenizer,
            start_ids=self.start_ids,
            end_ids=self.end_ids,
            pad_id=self.pad_id,
            sequence_length=sequence_length or self.max_sequence_length or DEFAULT_SEQUENCE_LENGTH,
            faster=lambda: self.fast_tokenizer,
            offsets=lambda: self.offsets,
            renew=self._renew_tables,
        )

    def question_encoder(self, sequence_length: int | None, *, overlap: float) -> QuestionEncoder:
        """Returns the encoder of questions with their contexts.

        Args:
            sequence_length: Longest window in tokens; None for what the backbone allows.
            overlap: Share of the context of a window that the next one has as well, beside the longest question.

        Returns:
            An encoder that adds this backbone's start, separator and end tokens.

        Raises:
            ConfigError: When the backbone is causal, does not mark the start or the end of a text, or windows are too
                short for a question and a context.
        """
        if self.causal:
            raise ConfigError(
                f"{self.preset!r} is causal: its tokens do not see what follows them, so it cannot point at the first "
                "token of an answer. Name an encoder, such as a BERT, RoBERTa or DeBERTa preset."
            )
        if not self.start_ids or not self.end_ids:
            lacking = "start" if not self.start_ids else "end"
            raise ConfigError(
                f"{self.preset!r} has no {lacking} token, which rows of a question and its context need. Name an "
                "encoder that has one, such as a BERT, RoBERTa or DeBERTa preset."
            )
        texts = self.encoder(sequence_length)
        special = len(self.start_ids) + len(self.separator_ids) + len(self.end_ids)
        room = texts.sequence_length - special
        if room <= 1:
            raise ConfigError(
                f"sequence_length={texts.sequence_length} leaves no room for a question and its context beside "
                f"{special} special tokens; set it to at least {special + 2}, better to 256 or more."
            )
        most = min(MAX_QUESTION_TOKENS, room // 2)
        return QuestionEncoder(
            lambda: self.offsets,
            start_ids=self.start_ids,
            separator_ids=self.separator_ids,
            end_ids=self.end_ids,
            pad_id=self.pad_id,
            context_segment_id=int("segment_ids" in self.trunk.input),
            sequence_length=texts.sequence_length,
            overlap=math.floor(overlap * (room - most)),
            max_question_tokens=most,
            renew=self._renew_tables,
        )

    def _renew_tables(self) -> None:
        proto = getattr(self.tokenizer, "proto", None)
        if proto is not None:
            self.tokenizer.set_proto(proto)
            self.__dict__.pop("offsets", None)  # has tables of its own

    def inputs(self) -> dict[str, Any]:
        """Returns new symbolic inputs: those of the features `TextEncoder.pad` gives that the backbone takes.

        Each is int32 of shape `(batch, sequence_length)`. `padding_mask` is always among them: pooling needs it.
        """
        names = sorted({*self.trunk.input, "padding_mask"})
        return {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in names}

    def features(self, inputs: dict[str, Any], *, frozen: bool) -> Any:
        """Applies the backbone: float of shape `(batch, sequence_length, hidden_dim)`; without dropout when frozen."""
        taken = {name: inputs[name] for name in self.trunk.input}
        return InferenceMode(self.trunk)(taken) if frozen else self.trunk(taken)
