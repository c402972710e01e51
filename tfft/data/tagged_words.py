"""Reading words with tags, or texts with spans of characters."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfft.console import Console
from tfft.core.errors import DataError, nearest
from tfft.core.tag_schemes import Span, in_order
from tfft.data.cell_faults import as_unicode
from tfft.data.cells import Cells, read_cells
from tfft.data.origin import Origin
from tfft.data.read import NumberedChunk, Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.word_cutting import join_words

#: Columns of examples: the words as given and their tags; or the spans of characters.
GIVEN, TAGS, SPANS = "given", "tags", "spans"
#: Columns of examples whose tags are written as they are learned: the words, their places in the text, and their tags.
WORDS, PLACES, LEARNED_TAGS = "words", "places", "learned_tags"
#: Names of what a span has, by what it is. The first is the documented one.
_START, _END = ("start", "start_offset", "begin"), ("end", "end_offset")
_TYPE = ("type", "label", "entity", "tag", "entity_group")


class ReaderWithTexts(Reader):
    """A source of words that has texts as well: the words with spaces between them."""

    def __init__(self, reader: Reader, *, tokens_column: str, text_column: str) -> None:
        """Wraps a source.

        Args:
            reader: The source.
            tokens_column: Column of lists of words.
            text_column: Name of the column of texts that is added.
        """
        self._reader = reader
        self._tokens = tokens_column
        self._text = text_column
        self.name = reader.name

    def __iter__(self) -> Iterator[NumberedChunk]:
        """Yields the chunks with one more column."""
        for chunk in self._reader:
            # A cell that is no list of words is for the task that tags them to refuse, or to leave out.
            texts = [
                join_words([as_unicode(word) for word in cell])[0]
                if isinstance(cell, list) and all(isinstance(word, str) for word in cell)
                else None
                for cell in chunk.columns[self._tokens]
            ]
            yield dataclasses.replace(chunk, columns={**chunk.columns, self._text: texts})

    def names(self) -> list[str]:
        """Returns the names of the columns with the one that is added."""
        return [*self._reader.names(), self._text]

    @property
    def origin(self) -> Origin:
        """Names for the source and its rows, as far as it was read."""
        return self._reader.origin


def tagged_examples(
    reader: Reader, *, tokens_column: str, tags_column: str | None, how: HowToRead, console: Console
) -> TextExamples:
    """Takes words and their tags from a source.

    Args:
        reader: The source, opened with at least these columns.
        tokens_column: Column of lists of words.
        tags_column: Column of lists of tags; None when only words are wanted.
        how: What is done with rows on the way.
        console: Where rows left out are said.

    Returns:
        The examples: texts that the words make, and the columns `GIVEN` and `TAGS`.

    Raises:
        DataError: When cells are no lists, there are not as many tags as words, or nothing is left.
    """
    cells = read_cells(
        reader, {tokens_column: "list", **({} if tags_column is None else {tags_column: "values"})}, how, console
    )
    words = cells.columns[tokens_column]
    columns = {GIVEN: words}
    if tags_column is not None:
        columns[TAGS] = tags = cells.columns[tags_column]
        _refuse_uneven(cells, words, tags)
        _refuse_numbers(cells, tags, tags_column)
    return _examples(cells, [join_words(row)[0] for row in words], columns)


def spanned_examples(
    reader: Reader, *, text_column: str, spans_column: str | None, how: HowToRead, console: Console
) -> TextExamples:
    """Takes texts and their spans from a source.

    A span is an object with the keys "start", "end" and "type" (or "label"), or a list of these three.

    Args:
        reader: The source, opened with at least these columns.
        text_column: Column of texts.
        spans_column: Column of lists of spans; None when only texts are wanted.
        how: What is done with rows on the way.
        console: Where rows left out are said.

    Returns:
        The examples: texts and the column `SPANS`.

    Raises:
        DataError: When cells are of another kind, spans are malformed or overlap, or nothing is left.
    """
    if spans_column is None:
        cells = read_cells(reader, {text_column: "text"}, how, console)
        return _examples(cells, cells.columns[text_column], {})
    cells = read_cells(reader, {text_column: "text", spans_column: "items"}, how, console, may_be_empty=(spans_column,))
    texts, spans = cells.columns[text_column], []
    for row, text, items in zip(cells.rows, texts, cells.columns[spans_column], strict=True):
        where = f"{cells.where}, {cells.where.rows([row])}, {spans_column}"
        try:
            spans.append(in_order([_span(item) for item in items], len(text), unit="characters"))
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    return _examples(cells, texts, {SPANS: spans})


def _examples(cells: Cells, texts: Sequence[str], columns: dict[str, Any]) -> TextExamples:
    return TextExamples(
        texts=texts, labels=(), keys=cells.keys, rows=cells.rows, where=cells.where, dropped=cells.dropped,
        columns=columns,
    )  # fmt: skip


def _refuse_uneven(cells: Cells, words: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> None:
    uneven = np.flatnonzero([len(row) != len(other) for row, other in zip(words, tags, strict=True)])
    if len(uneven):
        first = uneven[0]
        raise DataError(
            f"{cells.where}: {len(uneven):,} rows have not as many tags as words "
            f"({cells.where.rows(cells.rows[uneven])}); the first has {len(words[first])} words and "
            f"{len(tags[first])} tags. Each word needs one tag."
        )


def _refuse_numbers(cells: Cells, tags: Sequence[Sequence[str]], column: str) -> None:
    kinds = {tag for row in tags for tag in row}
    if all(tag.lstrip("-").isdigit() for tag in kinds):
        raise DataError(
            f"{cells.where}: the tags in {column!r} are numbers ({', '.join(sorted(kinds)[:3])}), which say nothing of "
            "where entities begin. Replace them by their names, for instance B-PER; with Hugging Face datasets, cast "
            "the column to its ClassLabel names."
        )


def _span(item: Any) -> Span:
    try:
        found = json.loads(item) if isinstance(item, str) else item
    except ValueError:
        found = None
    if isinstance(found, list) and len(found) == len(Span._fields):
        start, end, kind = found
    elif isinstance(found, dict):
        start, end, kind = (_value(found, names) for names in (_START, _END, _TYPE))
    else:
        raise DataError(
            f"{item!r} is no span. Write {{'start': 0, 'end': 3, 'type': 'PER'}} or [0, 3, 'PER'], in characters."
        )
    try:
        places = int(start), int(end)
    except (TypeError, ValueError):
        raise DataError(f"The span {item!r} does not begin and end with whole numbers.") from None
    if not isinstance(kind, str) or not kind.strip():
        raise DataError(f"The span {item!r} has no type; a type is a text such as 'PER'.")
    return Span(*places, kind.strip())


def _value(span: dict[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if name in span:
            return span[name]
    match = nearest(names[0], [str(key) for key in span])
    hint = f" Did you mean {match!r} to be {names[0]!r}?" if match else ""
    raise DataError(f"The span {span!r} lacks {names[0]!r}.{hint} It needs 'start', 'end' and 'type'.")
