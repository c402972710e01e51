"""Hiding tokens for masked language modelling, whole words together, in the graph."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfft.core.errors import ConfigError, PresetError
from tfft.layers.byte_pair_offsets import byte_symbols

#: Label of a token that is not to be predicted, and position that stands for none.
NONE = -1
#: What SentencePiece puts before a piece that begins a word.
SENTENCE_PIECE = "\u2581"
#: Scripts that are written without white space: each piece is a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
#: Tokens for what a vocabulary lacks: there is nothing to learn from them.
_UNKNOWN = ("[UNK]", "<unk>", "<oov>")
#: From these bytes on, the first of a character in UTF-8 is followed by one byte more.
_LEADS = (b"\xc0", b"\xe0", b"\xf0")
_SPECIAL = ("start", "end", "pad", "mask", "unk", "cls", "sep")
_ADVICE = "Masked language modelling needs an encoder such as BERT, RoBERTa, DeBERTa, ALBERT or XLM-RoBERTa."


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenMaskingOptions:
    """How tokens are chosen and hidden; the defaults are those of BERT (Devlin et al. 2019, section 3.1).

    Attributes:
        share: Share of a row's ordinary tokens that is to be predicted.
        mask_share: Share of those that becomes the mask token.
        random_share: Share of those that becomes a random ordinary token; the rest is left as it is.
    """

    share: float = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError(f"The share of tokens to predict is {self.share:g}; it has to be above 0 and at most 1.")
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1 + 1e-9:
            raise ConfigError(
                f"mask_share is {self.mask_share:g} and random_share {self.random_share:g}; neither may be below 0, "
                "nor their sum above 1."
            )

    def wanted(self, tokens: int) -> int:
        """Returns how many of so many ordinary tokens are to be predicted, as BERT rounds it: at least one of any."""
        return max(1, round(self.share * tokens)) if tokens else 0


@dataclasses.dataclass(frozen=True, eq=False)
class MaskingVocabulary:
    """What masking has to know of a tokenizer.

    Attributes:
        mask_id: Id of the mask token.
        ordinary: Which ids are of tokens that texts are made of, bool of shape `(vocabulary_size,)`: not special ones,
            nor that for unknown words.
        continues: Which of them continue the word of the token before, bool of shape `(vocabulary_size,)`.
    """

    mask_id: int
    ordinary: np.ndarray
    continues: np.ndarray


class MaskedTokens(NamedTuple):
    """Rows with hidden tokens.

    Attributes:
        ids: What the model sees, ragged int32 of shape `(batch, None)`.
        labels: What it has to predict: the original id where a token was chosen, else -1; int32 of the same shape.
    """

    ids: tf.RaggedTensor
    labels: tf.RaggedTensor


class TokenMasking(tf.Module):
    """Chooses whole words at random and hides their tokens, deterministically from a seed.

    Words are taken in random order as long as the row's share of tokens is not exceeded, and those that would exceed it
    are passed over, as in BERT's `create_masked_lm_predictions` with whole words. Where every word is longer than the
    share, the row's shortest word is taken, so that each row with an ordinary token has one to predict. Of the chosen
    tokens, each for itself, 80 % become the mask token, 10 % a random ordinary one, and 10 % stay.

    Example:
        >>> masking = TokenMasking(masking_vocabulary(tokenizer))
        >>> masked = masking(ids, tf.constant([1, 2]))
        >>> positions, labels = masked_positions(masked.labels)
    """

    def __init__(self, vocabulary: MaskingVocabulary, options: TokenMaskingOptions | None = None) -> None:
        """Keeps the tables.

        Args:
            vocabulary: What `masking_vocabulary` found.
            options: How much is hidden, and how.
        """
        super().__init__(name="token_masking")
        self.options = options or TokenMaskingOptions()
        self._mask_id = vocabulary.mask_id
        self._ordinary = vocabulary.ordinary
        self._continues = vocabulary.continues
        self._ordinary_ids = np.flatnonzero(vocabulary.ordinary).astype(np.int32)

    def __call__(self, ids: tf.RaggedTensor, seed: tf.Tensor) -> MaskedTokens:
        """Hides tokens.

        Args:
            ids: Token ids with start and end tokens, ragged int32 of shape `(batch, None)`.
            seed: Int32 of shape `(2,)`.

        Returns:
            What the model sees, and what it has to predict.
        """
        word_seed, kind_seed, id_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
        values = ids.flat_values
        chosen = self._chosen(ids, word_seed)
        kinds = tf.random.stateless_uniform(tf.shape(values), kind_seed)
        drawn = tf.random.stateless_uniform(
            tf.shape(values), id_seed, minval=0, maxval=len(self._ordinary_ids), dtype=tf.int32
        )
        others = tf.cast(tf.gather(self._ordinary_ids, drawn), values.dtype)
        to_mask, to_change = self.options.mask_share, self.options.mask_share + self.options.random_share
        hidden = tf.where(kinds < to_change, others, values)
        hidden = tf.where(kinds < to_mask, tf.cast(self._mask_id, values.dtype), hidden)
        return MaskedTokens(
            ids.with_flat_values(tf.where(chosen, hidden, values)),
            ids.with_flat_values(tf.where(chosen, values, tf.cast(NONE, values.dtype))),
        )

    def _chosen(self, ids: tf.RaggedTensor, seed: tf.Tensor) -> tf.Tensor:
        """Tells which of the flat tokens are to be predicted."""
        rows, count = ids.value_rowids(), ids.nrows()
        ordinary = tf.gather(self._ordinary, ids.flat_values)
        follows = tf.concat([[False], ordinary[:-1] & (rows[1:] == rows[:-1])], 0)[: tf.size(rows)]
        begins = ordinary & ~(tf.gather(self._continues, ids.flat_values) & follows)
        word = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        words = tf.reduce_sum(tf.cast(begins, tf.int32))
        # Special tokens belong to no word; segment sums leave out what is below 0.
        lengths = tf.math.unsorted_segment_sum(tf.ones_like(word), tf.where(ordinary, word, -1), words)
        word_rows = tf.boolean_mask(rows, begins)
        tokens = tf.math.unsorted_segment_sum(tf.cast(ordinary, tf.int32), rows, count)
        wanted = tf.maximum(tf.cast(tf.round(self.options.share * tf.cast(tokens, tf.float64)), tf.int32), 1)
        budgets = tf.maximum(wanted, tf.math.unsorted_segment_min(lengths, word_rows, count))
        # Float64 holds the number of the row and a random number side by side.
        keys = 2 * tf.cast(word_rows, tf.float64) + tf.random.stateless_uniform([words], seed, dtype=tf.float64)
        order = tf.argsort(keys)
        taken = _fitting(tf.gather(lengths, order), word_rows, budgets)
        taken_words = tf.gather(taken, tf.math.invert_permutation(order))
        padded = tf.concat([taken_words, [False]], 0)
        return ordinary & tf.gather(padded, tf.where(ordinary, word, words))


def masked_positions(labels: tf.RaggedTensor, width: int | tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Gathers what is to be predicted.

    Args:
        labels: The original id where a token is to be predicted, else -1; ragged int32 of shape `(batch, None)`.
        width: Places for each row, for instance `TokenMaskingOptions.wanted(sequence_length)` where XLA wants one
            shape. A row with more of them, whose every word is longer than the share, keeps its first ones. The most
            that a row has, and at least one, when None.

    Returns:
        Their positions in the row and their original ids, both int32 of shape `(batch, width)`, filled up with -1.
    """
    chosen = labels.flat_values != NONE
    rows = labels.value_rowids()
    places = tf.range(tf.size(rows, rows.dtype)) - tf.gather(labels.row_starts(), rows)
    kept = tf.boolean_mask(rows, chosen)

    def rectangle(values: tf.Tensor) -> tf.Tensor:
        ragged = tf.RaggedTensor.from_value_rowids(
            tf.cast(tf.boolean_mask(values, chosen), tf.int32), kept, labels.nrows(), validate=False
        )
        most = tf.maximum(tf.reduce_max(tf.concat([ragged.row_lengths(), [1]], 0)), 1) if width is None else width
        padded = ragged.to_tensor(NONE, shape=tf.stack([-1, tf.cast(most, tf.int32)]))
        return tf.ensure_shape(padded, [None, width if isinstance(width, int) else None])

    return rectangle(places), rectangle(labels.flat_values)


def masking_vocabulary(tokenizer: Any) -> MaskingVocabulary:
    """Reads a tokenizer's vocabulary.

    Args:
        tokenizer: A tokenizer of KerasHub: WordPiece, byte-level BPE or SentencePiece.

    Returns:
        What masking has to know.

    Raises:
        PresetError: When it has no mask token, is of another kind, or has no ordinary tokens.
    """
    mask_id = getattr(tokenizer, "mask_token_id", None)
    if mask_id is None:
        raise PresetError(f"{type(tokenizer).__name__} has no mask token, so that nothing can be hidden. {_ADVICE}")
    tokens = vocabulary_tokens(tokenizer)
    special = [getattr(tokenizer, f"{name}_token_id", None) for name in _SPECIAL]
    special += getattr(tokenizer, "special_token_ids", [])
    names = {*_UNKNOWN, *_control_pieces(tokenizer), getattr(tokenizer, "oov_token", None)}
    ordinary = np.array([token is not None and token not in names for token in tokens], bool)
    ordinary[[number for number in special if number is not None]] = False
    if not ordinary.any():
        raise PresetError(f"The vocabulary of {type(tokenizer).__name__} has nothing but special tokens.")
    return MaskingVocabulary(int(mask_id), ordinary, continuation_table(tokenizer) & ordinary)


def continuation_table(tokenizer: Any) -> np.ndarray:
    """Tells which tokens continue the word of the token before.

    In WordPiece those with "##". In byte-level BPE and SentencePiece those without the sign for a space, so that
    punctuation belongs to the word before it, unless they begin with a character of a script without white space: there
    each token is a word.

    Args:
        tokenizer: A tokenizer of KerasHub.

    Returns:
        Bool of shape `(vocabulary_size,)`; False where there is no token.

    Raises:
        PresetError: When the tokenizer is of another kind.
    """
    tokens = vocabulary_tokens(tokenizer)
    kinds = {kind.__name__ for kind in type(tokenizer).__mro__}
    if "WordPieceTokenizer" in kinds:
        mark = tokenizer.suffix_indicator
        return np.array([token is not None and token.startswith(mark) and token != mark for token in tokens], bool)
    if "BytePairTokenizer" in kinds:
        spaces = tuple(byte_symbols()[ord(space)] for space in " \t\n\r")
        firsts = _first_characters(tokens)
    elif "SentencePieceTokenizer" in kinds:
        spaces, firsts = (SENTENCE_PIECE,), [(token or "").encode("utf-8", "replace") for token in tokens]
    else:
        raise PresetError(
            f"{type(tokenizer).__name__} is no WordPiece, byte-level BPE or SentencePiece tokenizer, so that it is not "
            f"known which of its tokens make a word. {_ADVICE}"
        )
    unspaced: np.ndarray = tf.strings.regex_full_match(tf.constant(firsts), rf"(?s)[{_UNSPACED}].*").numpy()
    pairs = zip(tokens, unspaced, strict=True)
    return np.array([token is not None and not (token.startswith(spaces) or alone) for token, alone in pairs], bool)


def _fitting(lengths: tf.Tensor, rows: tf.Tensor, budgets: tf.Tensor) -> tf.Tensor:
    """Takes words in order, row by row, passing over those that no longer fit.

    Args:
        lengths: Tokens of each word, int32 of shape `(words,)`.
        rows: Row of each, ascending, int64 of shape `(words,)`.
        budgets: Tokens that each row may take, int32 of shape `(batch,)`.

    Returns:
        Bool of shape `(words,)`.
    """
    firsts = tf.searchsorted(rows, tf.range(tf.size(budgets, rows.dtype)))

    def fits(taken: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
        return ~taken & (lengths <= tf.gather(left, rows))

    def take(taken: tf.Tensor, left: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # All that fit, up to the first with which the sum is too large; that one never fits again.
        sizes = tf.where(fits(taken, left), lengths, 0)
        sums = tf.concat([[0], tf.cumsum(sizes)], 0)
        so_far = sums[1:] - tf.gather(tf.gather(sums, firsts), rows)
        new = (sizes > 0) & (so_far <= tf.gather(left, rows))
        used = tf.math.unsorted_segment_sum(tf.where(new, lengths, 0), rows, tf.size(budgets))
        return taken | new, left - used

    start = (tf.zeros_like(lengths, tf.bool), budgets)
    taken, _ = tf.while_loop(lambda *state: tf.reduce_any(fits(*state)), take, start)
    return taken


def vocabulary_tokens(tokenizer: Any) -> list[str | None]:
    """Returns the tokens of a vocabulary.

    Args:
        tokenizer: A tokenizer of KerasHub.

    Returns:
        The token of each id; None where there is none.

    Raises:
        PresetError: When it has no vocabulary.
    """
    if not hasattr(tokenizer, "get_vocabulary"):
        raise PresetError(f"{type(tokenizer).__name__} has no vocabulary. {_ADVICE}")
    vocabulary = tokenizer.get_vocabulary()
    if isinstance(vocabulary, list):
        return list(vocabulary)
    numbers = tokenizer.vocabulary  # BPE: a token to its id
    tokens: list[str | None] = [None] * (max(numbers.values()) + 1)
    for token, number in numbers.items():
        tokens[number] = token
    return tokens


def _first_characters(tokens: list[str | None]) -> list[bytes]:
    """Returns the first character of byte-level tokens; one that is cut off is completed to some one of its script."""
    known = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
    found = []
    for token in tokens:
        spelled = bytes(known[symbol] for symbol in token or "" if symbol in known)
        size = 1 + sum(spelled[:1] >= lead for lead in _LEADS)
        # With 0x95 as last byte: the first and last characters of Unicode's blocks are often not assigned.
        found.append((spelled[:size] + b"\x95" * (size - len(spelled))).decode("utf-8", "replace").encode())
    return found


def _control_pieces(tokenizer: Any) -> set[str]:
    """Returns the pieces of a SentencePiece model that no text is cut into."""
    proto = getattr(tokenizer, "proto", None)
    if proto is None:
        return set()
    from sentencepiece import sentencepiece_model_pb2

    protos: Any = sentencepiece_model_pb2
    kinds = protos.ModelProto.SentencePiece
    pieces = protos.ModelProto.FromString(proto).pieces
    return {piece.piece for piece in pieces if piece.type in {kinds.UNKNOWN, kinds.CONTROL, kinds.UNUSED}}
