"""Tags of words: what is learned of them, and how data of any scheme is written in the one that is learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.core.learned import Learned
from tfft.core.tag_schemes import EDGE, OUTSIDE, Span, Tag, TagScheme, begins_span, parse_tag, spans_of, tags_of
from tfft.data.schema import TextExamples
from tfft.data.tag_schemes import allowed_transitions, check, detect_scheme, spans_of_characters
from tfft.data.tagged_words import GIVEN, LEARNED_TAGS, PLACES, SPANS, TAGS, WORDS
from tfft.data.word_cutting import WordCut, choose_cut, cut_words, join_words

if TYPE_CHECKING:
    from tfft.layers.tag_decoding import TagRules

#: What the tags of a scheme are written in to be learned; it marks the same entities, and it alone is decoded.
_LEARNED_AS: Mapping[TagScheme, TagScheme] = {"bio": "bio", "iob1": "bio", "bioes": "bioes", "plain": "plain"}
_PREFIXES: Mapping[TagScheme, str] = {"bio": "BI", "bioes": "BIES"}
_ENOUGH = 0.99


def learn_tags(
    examples: TextExamples, scheme: TagScheme | None, words: WordCut | None, console: Console
) -> dict[str, Any]:
    """Finds out the scheme, how texts are cut into words, and the tags.

    Args:
        examples: The training examples as they were read.
        scheme: Scheme of given tags; None to find it out.
        words: How texts are cut; None to find it out.
        console: Where decisions are said.

    Returns:
        Plain data: "given_scheme" (None for spans), "scheme", "words", and "tags", the label vocabulary.

    Raises:
        DataError: When there is nothing to learn, or tags do not keep to a scheme.
    """
    if SPANS in examples.columns:
        given, kinds = None, {span.type for spans in examples.columns[SPANS] for span in spans}
        if not kinds:
            raise DataError(f"{examples.where}: no row has a span, so there is nothing to learn.")
        cut = words or _cut_for_spans(examples, console)
        learned_as: TagScheme = "bio"
    else:
        rows, tags = examples.columns[GIVEN], examples.columns[TAGS]
        given = scheme or detect_scheme(tags, where=examples.where, rows=examples.rows)
        check(tags, given, where=examples.where, rows=examples.rows)
        kinds = {span.type for row in tags for span in spans_of(row, given)}
        learned_as = _LEARNED_AS[given]
        cut = words or _cut_for_words(rows, console)
    outside = [OUTSIDE]
    if learned_as == "plain":
        found = {tag for row in examples.columns[TAGS] for tag in row}
        labels = sorted(found, key=lambda tag: (tag != OUTSIDE, tag))
    else:
        labels = [*outside, *(str(Tag(prefix, kind)) for kind in sorted(kinds) for prefix in _PREFIXES[learned_as])]
    return {"given_scheme": given, "scheme": learned_as, "words": cut, "tags": labels}


def shape_tags(examples: TextExamples, learned: Learned) -> TextExamples:
    """Writes the tags of examples in the scheme that is learned, and cuts texts into the words that are tagged.

    Args:
        examples: Examples as they were read, with or without tags.
        learned: What `learn_tags` found out, as settings.

    Returns:
        The examples with the columns `WORDS`, `PLACES` and `LEARNED_TAGS` instead of what was read. Without tags: with
        the words that were given, unless characters are tagged; raw texts as they are.

    Raises:
        DataError: When tags or spans do not fit.
    """
    cut: WordCut = learned.settings["words"]
    target: TagScheme = learned.settings["scheme"]
    if TAGS not in examples.columns and SPANS not in examples.columns:
        return _with_given_words(examples, cut)
    texts, places, tags = [], [], []
    if GIVEN in examples.columns:
        scheme: TagScheme | None = learned.settings["given_scheme"]
        given = examples.columns[TAGS]
        if scheme is None:  # learned from spans of characters
            scheme = detect_scheme(given, where=examples.where, rows=examples.rows)
        check(given, scheme, where=examples.where, rows=examples.rows)
        for row, row_tags in zip(examples.columns[GIVEN], given, strict=True):
            text, row_places = join_words(row)
            spans = spans_of(row_tags, scheme)
            if cut == "characters" and any(len(word) > 1 for word in row):
                cut_places = cut_words(text, cut)
                of_text = [Span(row_places[a][0], row_places[b - 1][1], kind) for a, b, kind in spans]
                spans, row_places = spans_of_characters(text, cut_places, of_text), cut_places
            texts.append(text)
            places.append(row_places)
            tags.append(tags_of(spans, len(row_places), target))
    else:
        texts = list(examples.texts)
        for number, text, spans in zip(examples.rows, texts, examples.columns[SPANS], strict=True):
            row_places = cut_words(text, cut)
            try:
                found = spans_of_characters(text, row_places, spans)
            except DataError as error:
                raise DataError(
                    f"{examples.where}, {examples.where.rows([number])}: {error} Texts are cut with words={cut!r}."
                ) from None
            places.append(row_places)
            tags.append(tags_of(found, len(row_places), target))
    words = [[text[start:end] for start, end in row] for text, row in zip(texts, places, strict=True)]
    columns: dict[str, Sequence[Any]] = {WORDS: words, PLACES: places, LEARNED_TAGS: tags}
    return dataclasses.replace(examples, texts=texts, columns=columns)


def _with_given_words(examples: TextExamples, cut: WordCut) -> TextExamples:
    words = examples.columns.get(GIVEN)
    if words is None or cut == "characters":
        return examples
    columns = {WORDS: words, PLACES: [join_words(row)[1] for row in words]}
    return dataclasses.replace(examples, columns=columns)


def tag_rules(labels: Sequence[str], scheme: TagScheme) -> TagRules:
    """Returns what a scheme says of labels, for decoding.

    Args:
        labels: The tags, in the order of the outputs.
        scheme: Their scheme.

    Returns:
        The rules.
    """
    from tfft.layers.tag_decoding import TagRules

    parsed = [tag for tag in (parse_tag(label, scheme) for label in labels) if tag is not None]
    begins = np.array([[begins_span(before, tag) for tag in parsed] for before in [*parsed, EDGE]], dtype=bool)
    outside = np.array([tag == EDGE for tag in parsed], dtype=bool)
    return TagRules(*allowed_transitions(labels, scheme), begins=begins, outside=outside)


def _cut_for_words(rows: Sequence[Sequence[str]], console: Console) -> WordCut:
    cut, share = choose_cut(rows)
    if cut == "characters":
        if share < _ENOUGH:
            console.say("words: this writing has no spaces, so that characters are tagged, in training as well")
    elif share < _ENOUGH:
        console.say(
            f"words: raw texts will be cut with words={cut!r}, which gives the words of {share:.1%} of the rows back; "
            "where it does not, predictions on raw texts are for other words than those learned from"
        )
    return cut


def _cut_for_spans(examples: TextExamples, console: Console) -> WordCut:
    """Takes the coarsest cut that has the ends of nearly all spans, or else that of writing without spaces."""
    cut, _ = choose_cut([text.split() for text in examples.texts])
    if cut == "characters":
        return cut
    spans = list(zip(examples.texts, examples.columns[SPANS], strict=True))
    total = sum(len(row) for _, row in spans)
    shares: dict[WordCut, float] = {}
    cuts: tuple[WordCut, ...] = ("whitespace", "punctuation")
    for how in cuts:
        kept = 0
        for text, row in spans:
            places = cut_words(text, how)
            starts, ends = {start for start, _ in places}, {end for _, end in places}
            kept += sum(span.start in starts and span.end in ends for span in row)
        shares[how] = kept / total
        if kept == total:
            return how
    best = max(shares, key=lambda how: (shares[how], how == "punctuation"))
    if shares[best] >= _ENOUGH:
        return best
    console.say(
        f"words: only {shares[best]:.1%} of the spans begin and end where words do, so that characters are tagged"
    )
    return "characters"
