"""Words that a masked language model puts in place of the words of a text."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfft.augment._cores import case_of, cores, folded, in_case, is_letters
from tfft.augment._vocabulary import whole_words
from tfft.augment._words import split_text
from tfft.augment.base import AugmentationContext
from tfft.core.errors import ConfigError

#: Texts that are split or tokenized at once.
_TEXTS_PER_CALL = 1024
#: Rows are padded to a multiple of so many tokens, so that the model sees few shapes.
_WIDTH_STEP = 16
#: A word is never replaced by itself, so that there must be another one.
_FEWEST_WORDS = 2


@dataclasses.dataclass(frozen=True)
class MaskedModel:
    """A masked language model with its tokenizer.

    Attributes:
        logits: From ids and padding mask, int32 `(batch, length)`, to logits `(batch, length, vocabulary_size)`.
        tokenize: From strings `(batch,)` to ragged int32 ids.
        words: The tokens that are whole words, in lower case, with their ids.
        mask_id: Id of the mask token.
        start_ids: Ids before a text.
        end_ids: Ids after a text.
        pad_id: Id that fills a row.
        sequence_length: Longest row in tokens; None when there is no limit.
    """

    logits: Callable[[np.ndarray, np.ndarray], np.ndarray]
    tokenize: Callable[[tf.Tensor], tf.RaggedTensor]
    words: dict[str, int]
    mask_id: int
    start_ids: tuple[int, ...]
    end_ids: tuple[int, ...]
    pad_id: int
    sequence_length: int | None

    @classmethod
    def of(cls, context: AugmentationContext) -> MaskedModel:
        """Returns the backbone's model.

        Args:
            context: What is known of the backbone.

        Returns:
            The model.

        Raises:
            ConfigError: When the backbone has no such head, no mask token or no vocabulary.
        """
        if context.masked_lm is None or context.mask_id is None:
            raise ConfigError(
                "masked_lm_replacement needs a preset with a masked-language-model head and a mask token, which this "
                "one has not. Use synonym_replacement, or a preset such as 'bert_base_en_uncased'."
            )
        if context.vocabulary is None or context.tokenize is None:
            raise ConfigError("masked_lm_replacement needs a tokenizer with a vocabulary, which this preset has not.")
        words = whole_words(context.vocabulary, context.special_ids)
        if len(words) < _FEWEST_WORDS:
            raise ConfigError(
                "masked_lm_replacement needs a vocabulary with whole words of letters; this one has none."
            )
        return cls(
            context.masked_lm(),
            context.tokenize,
            words,
            context.mask_id,
            context.start_ids,
            context.end_ids,
            context.pad_id,
            context.sequence_length,
        )


@dataclasses.dataclass(frozen=True)
class _Word:
    """A word that occurs in the texts.

    Attributes:
        ids: Its tokens.
        before: Tokens of the punctuation before it.
        after: Tokens of the punctuation after it.
        parts: Punctuation, word in lower case, punctuation.
        case: Its case.
        replaceable: Whether it is a word of letters.
    """

    ids: list[int]
    before: list[int]
    after: list[int]
    parts: tuple[str, str, str]
    case: int
    replaceable: bool


@dataclasses.dataclass(frozen=True)
class _Job:
    """A version of a text to be computed.

    Attributes:
        row: Position of the text.
        ids: Tokens with masks, start and end included.
        masked: Place of each mask among the tokens, and which word it stands for.
    """

    row: int
    ids: list[int]
    masked: list[tuple[int, int]]


def words_of_texts(context: AugmentationContext) -> list[list[str]]:
    """Returns the words of each training text."""
    if context.words is not None:
        return [list(words) for words in context.words]
    rows: list[list[str]] = []
    for start in range(0, len(context.texts), _TEXTS_PER_CALL):
        chunk = [text.encode("utf-8", "replace") for text in context.texts[start : start + _TEXTS_PER_CALL]]
        rows += [[word.decode() for word in row] for row in split_text(tf.constant(chunk))[1].to_list()]
    return rows


def masked_versions(
    texts: Sequence[Sequence[str]],
    model: MaskedModel,
    context: AugmentationContext,
    *,
    rate: float,
    variants: int,
    candidates: int,
    batch_size: int,
) -> list[list[list[str]]]:
    """Replaces words of each text by words that a masked language model expects in their places.

    Args:
        texts: The words of each text.
        model: The masked language model.
        context: Gives the seed, and the tags: words inside spans are left alone.
        rate: Share of the words of a text that is replaced, at least one.
        variants: Versions of each text.
        candidates: Most likely words among which one is drawn by its probability.
        batch_size: Rows that the model takes at once.

    Returns:
        For each text its versions, as many words each.
    """
    random = np.random.default_rng([context.seed, zlib.crc32(b"masked_lm_replacement")])
    known = _known_words(texts, model)
    predictor = _Predictor(model, candidates, random)
    jobs = []
    for row, words in enumerate(texts):
        of_row = [known[word] for word in words]
        places = _replaceable(of_row, None if context.tags is None else context.tags[row], context.outside_tag)
        drawn = (_job(row, of_row, places, rate, model, random) for _ in range(variants if places else 0))
        jobs += [job for job in drawn if job.masked]
    jobs.sort(key=lambda job: len(job.ids))
    versions: list[list[list[str]]] = [[] for _ in texts]
    with context.console.progress("masked_lm_replacement", len(jobs), "rows") as advance:
        for start in range(0, len(jobs), batch_size):
            batch = jobs[start : start + batch_size]
            originals = [[known[texts[job.row][place]] for _, place in job.masked] for job in batch]
            for job, words in zip(batch, predictor.words(batch, originals), strict=True):
                version = list(texts[job.row])
                for (_, place), word in zip(job.masked, words, strict=True):
                    version[place] = word
                versions[job.row].append(version)
            advance(len(batch))
    return versions


class _Predictor:
    """Draws words for masks."""

    def __init__(self, model: MaskedModel, candidates: int, random: np.random.Generator) -> None:
        self._model = model
        self._words = list(model.words)
        self._ids = np.array(list(model.words.values()), np.int64)
        self._place = {word: place for place, word in enumerate(self._words)}
        self._most = min(candidates, len(self._words) - 1)
        self._random = random

    def words(self, batch: Sequence[_Job], originals: Sequence[Sequence[_Word]]) -> list[list[str]]:
        """Returns the new words of each row, in the case and the punctuation of the old ones."""
        width = -(-max(len(job.ids) for job in batch) // _WIDTH_STEP) * _WIDTH_STEP
        ids = np.full((len(batch), width), self._model.pad_id, np.int32)
        mask = np.zeros((len(batch), width), np.int32)
        for row, job in enumerate(batch):
            ids[row, : len(job.ids)], mask[row, : len(job.ids)] = job.ids, 1
        logits = np.asarray(self._model.logits(ids, mask))
        return [
            [self._draw(logits[row, place], word) for (place, _), word in zip(job.masked, old, strict=True)]
            for row, (job, old) in enumerate(zip(batch, originals, strict=True))
        ]

    def _draw(self, logits: np.ndarray, old: _Word) -> str:
        scores = logits[self._ids].astype(np.float64)
        before, word, after = old.parts
        if word in self._place:
            scores[self._place[word]] = -np.inf
        best = np.argpartition(-scores, self._most - 1)[: self._most]
        best = best[np.lexsort((best, -scores[best]))]
        odds = np.exp(scores[best] - scores[best[0]])
        drawn = best[self._random.choice(len(best), p=odds / odds.sum())]
        return before + in_case(self._words[drawn], old.case) + after


def _replaceable(words: Sequence[_Word], tags: Sequence[int] | None, outside_tag: int | None) -> list[int]:
    """Returns the places of the words that may be replaced."""
    free = [True] * len(words) if tags is None or outside_tag is None else [tag == outside_tag for tag in tags]
    return [place for place, word in enumerate(words) if word.replaceable and free[place]]


def _job(
    row: int, words: Sequence[_Word], places: list[int], rate: float, model: MaskedModel, random: np.random.Generator
) -> _Job:
    count = min(max(int(rate * len(words) + random.random()), 1), len(places))
    chosen = set(random.choice(places, count, replace=False).tolist())
    ids, masked = list(model.start_ids), []
    for place, word in enumerate(words):
        if place in chosen:
            masked.append((len(ids) + len(word.before), place))
            ids += [*word.before, model.mask_id, *word.after]
        else:
            ids += word.ids
    end = len(ids) if model.sequence_length is None else min(len(ids), model.sequence_length - len(model.end_ids))
    # The model does not see what is behind its longest row.
    return _Job(row, [*ids[:end], *model.end_ids], [(at, place) for at, place in masked if at < end])


def _known_words(texts: Sequence[Sequence[str]], model: MaskedModel) -> dict[str, _Word]:
    """Returns what is to be known of each word, tokenized once however often it occurs."""
    words = sorted({word for row in texts for word in row})
    raw = tf.constant([word.encode("utf-8", "replace") for word in words], tf.string, shape=[len(words)])
    before, core, after = (part.numpy() for part in cores(raw))
    lower, cases = folded(tf.constant(core)).numpy(), case_of(tf.constant(core)).numpy()
    letters = is_letters(tf.constant(core)).numpy()
    tokens = [_tokenized(part, model) for part in (raw.numpy(), before, after)]
    return {
        word: _Word(
            ids=tokens[0][place],
            before=tokens[1][place],
            after=tokens[2][place],
            parts=(before[place].decode(), lower[place].decode(), after[place].decode()),
            case=int(cases[place]),
            replaceable=bool(letters[place]),
        )
        for place, word in enumerate(words)
    }


def _tokenized(words: np.ndarray, model: MaskedModel) -> list[list[int]]:
    """Returns the tokens of words, each as it is in the middle of a text: with a space before it."""
    ids: list[list[int]] = []
    for start in range(0, len(words), _TEXTS_PER_CALL):
        chunk = [b" " + word if word else b"" for word in words[start : start + _TEXTS_PER_CALL]]
        ids += model.tokenize(tf.constant(chunk)).to_list()
    return ids
