"""Vocabularies learned from the training texts: pieces of words by SentencePiece, or whole words.

Unigram language models are those of Kudo 2018, https://arxiv.org/abs/1804.10959, section 3.2; byte pair encoding is
that of Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; the library is that of Kudo and Richardson 2018,
https://arxiv.org/abs/1808.06226.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

from tfft.core.errors import ConfigError, DataError, unknown_name
from tfft.core.special_ids import END, PAD, SPECIAL_IDS, START, UNKNOWN
from tfft.data.cell_faults import as_unicode

#: How pieces are found.
Kind = Literal["unigram", "bpe"]

#: Most entries of a vocabulary.
LARGEST = 2**20
#: Least share of characters that the library lets a vocabulary cover, and greatest length of a piece.
_LEAST_COVERAGE, _LONGEST_PIECE = 0.98, 512
#: Longer texts are cut: time grows faster than the length of a text without spaces, and the library skips texts that
#: are longer than its limit, which counts bytes.
_LONGEST_TEXT, _BYTES_EACH = 4096, 4
#: Without a piece of their own: NULs are left out, line ends are spaces to the model, and a text with the library's own
#: sign for the unknown (U+2585) would be skipped as a whole.
_REPLACED = {0: None, ord("\n"): " ", ord("\r"): " ", 0x2585: " "}
_SILENT = 5  # log level above all of the library's


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubwordOptions:
    """How a vocabulary of pieces is learned.

    Attributes:
        vocabulary_size: Number of pieces, special ids included; fewer are learned from texts that have no more.
        kind: "unigram" for a unigram language model, "bpe" for byte pair encoding.
        character_coverage: Share of the characters of the texts that have pieces, 0.98 to 1; the rarest ones are left
            out. Below 1 for languages with thousands of characters.
        lowercase: Whether case is folded. Texts that are decoded are in lower case then.
        longest_piece: Greatest length of a piece in characters.
    """

    vocabulary_size: int = 8000
    kind: Kind = "unigram"
    character_coverage: float = 1.0
    lowercase: bool = False
    longest_piece: int = 16

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(unknown_name("kind of subwords", str(self.kind), get_args(Kind)))
        _check_range("vocabulary_size", self.vocabulary_size, SPECIAL_IDS + 1, LARGEST)
        _check_range("character_coverage", self.character_coverage, _LEAST_COVERAGE, 1.0)
        _check_range("longest_piece", self.longest_piece, 1, _LONGEST_PIECE)


def learn_subwords(texts: Iterable[str], options: SubwordOptions | None = None) -> bytes:
    """Learns pieces of words; the same texts give the same bytes.

    The ids of `core/special_ids.py` are fixed, and pieces follow. Texts are normalized (NFKC, white space), also when
    the model is used; a character that no text has is unknown to it. NULs are left out.

    Args:
        texts: The texts of the training split, and no others: what is counted here is learned.
        options: How it is done; None for the defaults.

    Returns:
        A serialized SentencePiece model. `subword_count` tells its size, which may be below the one asked for.

    Raises:
        ConfigError: When the vocabulary is too small for the characters of the texts.
        DataError: When there are no texts with anything in them, or something else than texts.
    """
    from sentencepiece import SentencePieceTrainer

    options = options or SubwordOptions()
    sentences = list(_sentences(texts))
    if not sentences:
        raise _nothing("pieces")
    made = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=made,
            model_type=options.kind,
            vocab_size=options.vocabulary_size,
            hard_vocab_limit=False,
            character_coverage=options.character_coverage,
            normalization_rule_name="nmt_nfkc_cf" if options.lowercase else "nmt_nfkc",
            max_sentencepiece_length=options.longest_piece,
            max_sentence_length=_LONGEST_TEXT * _BYTES_EACH,
            byte_fallback=False,
            pad_id=PAD,
            unk_id=UNKNOWN,
            bos_id=START,
            eos_id=END,
            num_threads=1,
            minloglevel=_SILENT,
        )
    except RuntimeError as error:
        raise _translated(str(error), options, len(sentences)) from None
    return _limited(made.getvalue(), options.vocabulary_size)


def subword_count(model: bytes) -> int:
    """Returns the number of ids of a serialized SentencePiece model, special ones included."""
    return len(_protos().ModelProto.FromString(model).pieces)


def learn_words(texts: Iterable[str], *, vocabulary_size: int = 30_000, min_count: int = 1) -> tuple[str, ...]:
    """Learns the most frequent words, most frequent first and else in the order of code points.

    A word is what stands between white space, as `str.split` has it: punctuation stays with its word. For texts in
    which words have been set apart; for others learn subwords.

    Args:
        texts: The texts of the training split, and no others.
        vocabulary_size: Most ids, special ones included.
        min_count: How often a word must be there.

    Returns:
        The words; the first one has the id `SPECIAL_IDS`.

    Raises:
        ConfigError: When an option is out of range.
        DataError: When there is no word, or none is frequent enough.
    """
    _check_range("vocabulary_size", vocabulary_size, SPECIAL_IDS + 1, LARGEST)
    _check_range("min_count", min_count, 1, None)
    counts: Counter[str] = Counter()
    for text in _checked(texts):
        counts.update(text.split())
    if not counts:
        raise _nothing("words")
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    most = ordered[0][1]
    if most < min_count:
        raise DataError(
            f"No word is there min_count={min_count:,} times; the most frequent one, {ordered[0][0]!r}, is there "
            f"{most:,} times. Lower min_count, or give more texts."
        )
    return tuple(word for word, count in ordered[: vocabulary_size - SPECIAL_IDS] if count >= min_count)


def _check_range(name: str, value: float, least: float, most: float | None) -> None:
    if not value >= least or (most is not None and value > most):  # NaN is out of range too
        upper = "" if most is None else f" and at most {most:,}"
        raise ConfigError(f"{name} is {value:,}; it must be at least {least:,}{upper}.")


def _checked(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, (str, bytes)):
        raise DataError("One text was received where many are expected. Write [text].")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"Texts are expected; the one at position {place} is a {type(text).__name__}.")
        yield as_unicode(text)


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    """Yields what the library reads: no blank texts and no long ones, nothing that makes it skip one."""
    for text in _checked(texts):
        rest = text.translate(_REPLACED)
        begin = 0
        while begin < len(rest):
            end = begin + _LONGEST_TEXT
            if end < len(rest):
                space = rest.rfind(" ", begin + 1, end + 1)
                end = space if space > 0 else end
            if part := rest[begin:end].strip():
                yield part
            begin = end


def _translated(message: str, options: SubwordOptions, sentences: int) -> Exception:
    """Returns the typed error for one of the library."""
    found = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if found:
        needed = int(found[1])
        return ConfigError(
            f"vocabulary_size={options.vocabulary_size:,} is too small: the characters of the texts and the special "
            f"tokens need {needed:,} ids. Set it to at least {needed:,}, lower character_coverage (it is "
            f"{options.character_coverage:g}), or learn from cleaner texts."
        )
    if "sentences_.empty()" in message or "all_chars_count" in message:  # what is there vanishes when normalized
        return _nothing("pieces")
    return DataError(
        f"SentencePiece cannot learn from {sentences:,} texts: {message}. Try another kind than {options.kind!r}, or "
        "another vocabulary_size."
    )


def _nothing(what: str) -> DataError:
    return DataError(f"There are no {what} to learn: no text holds more than white space. Name another column.")


def _limited(model: bytes, vocabulary_size: int) -> bytes:
    """Refuses a model with more pieces than were asked for."""
    count = subword_count(model)
    if count > vocabulary_size:
        raise ConfigError(
            f"vocabulary_size={vocabulary_size:,} is too small: {count:,} pieces were learned. Set it to at least that."
        )
    return model


def _protos() -> Any:
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2
