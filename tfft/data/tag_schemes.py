"""Tags of tokens: which scheme they follow, whether they keep to it, and how they come from spans of characters."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from tfft.core.errors import DataError, name_list, nearest
from tfft.core.tag_schemes import (
    EDGE,
    OUTSIDE,
    PREFIXES,
    Span,
    Tag,
    TagScheme,
    in_order,
    may_follow,
    parse_tag,
    spans_of,
    tags_of,
)
from tfft.data.origin import Origin

__all__ = [
    "Span",
    "TagScheme",
    "detect_scheme",
    "check",
    "convert",
    "spans_of",
    "tags_of",
    "spans_of_characters",
    "allowed_transitions",
]

_WITH_PREFIXES: Final[tuple[TagScheme, ...]] = ("bio", "iob1", "bioes")
#: "b-PER", "B_PER", "B PER"; and "PER-B", "PER_B".
_PREFIX_FIRST = re.compile(r"([BIESLU])\s*[-_:/|. ]\s*(.+)", re.IGNORECASE)
_PREFIX_LAST = re.compile(r"(.+?)\s*[-_:/|. ]\s*([BIESLU])", re.IGNORECASE)
#: Tags, or pairs of them, that a message quotes.
_QUOTED = 3
_NOWHERE = Origin("The tags")

#: Two tags in a row; None stands for the edge of the sequence.
_Pair = tuple[str | None, str | None]


def detect_scheme(
    sequences: Sequence[Sequence[str]], *, where: Origin = _NOWHERE, rows: np.ndarray | None = None
) -> TagScheme:
    """Tells which scheme tags follow.

    Rows with a span are valid in one scheme with prefixes at most. Only "bioes" has E- and S-, and cannot do without.
    A span begins with B- in "bio"; in "iob1" it begins with I-, and with B- only right after a span of its own type.
    So an I- after "O" or after another type means "iob1", if no row contradicts it with a B- that does not follow its
    own type; if one does, the tags follow no scheme, and the message names rows of both kinds. Tags with I- alone are
    "iob1". Tags without prefixes are "plain", unless they would follow a scheme if they were spelled its way.

    Args:
        sequences: The tags of each row.
        where: Where they come from, for messages.
        rows: Row numbers there, from 1, int64 of shape `(rows,)`; None when these are all rows, in order.

    Returns:
        The scheme.

    Raises:
        DataError: When all tags are "O", only some have a prefix, or they follow no scheme.
    """
    tagged = _Tagged(sequences, where, rows)
    tags, pairs = tagged.tags(), tagged.pairs()
    if not set(tags) - {OUTSIDE}:
        raise DataError(f"{where}: every tag is {OUTSIDE!r}, so there is nothing to learn. Is it the right column?")
    for scheme in _WITH_PREFIXES:
        if _is_valid(tags, pairs, scheme):
            return scheme
    prefixed = [tag for tag in tags if "-" in tag and parse_tag(tag, "bioes") is not None]
    if not prefixed:
        _refuse_misspelt(tagged, tags, pairs)
        _refuse_malformed(tagged, tags, "plain")
        return "plain"
    others = [tag for tag in tags if tag != OUTSIDE and tag not in prefixed]
    if others:
        raise DataError(
            f"{where}: some tags have a prefix, such as {prefixed[0]!r}, and some have none: "
            f"{tagged.quote_tags(others, 'bioes', prefixed)}. Correct these, or name the scheme 'plain' if "
            "prefixes mean nothing."
        )
    if any(tag[0] not in PREFIXES["bio"] for tag in prefixed):
        check(sequences, "bioes", where=where, rows=rows)
    raise DataError(
        f"{where}: the tags are neither 'bio', where B- begins each span, since "
        f"{tagged.quote_pairs(_faults(pairs, 'bio'))}, nor 'iob1', where B- only follows its own type, since "
        f"{tagged.quote_pairs(_faults(pairs, 'iob1'))}. Make all rows follow one of them."
    )


def check(
    sequences: Sequence[Sequence[str]],
    scheme: TagScheme,
    *,
    where: Origin = _NOWHERE,
    rows: np.ndarray | None = None,
) -> None:
    """Makes sure that tags keep to a scheme.

    Args:
        sequences: The tags of each row.
        scheme: The scheme.
        where: Where they come from, for messages.
        rows: Row numbers there, from 1, int64 of shape `(rows,)`; None when these are all rows, in order.

    Raises:
        DataError: When the scheme has no such tag, or does not allow two tags in a row; names the first rows.
    """
    tagged = _Tagged(sequences, where, rows)
    tags, pairs = tagged.tags(), tagged.pairs()
    _refuse_malformed(tagged, tags, scheme)
    if scheme == "bioes" and _spelled_twice(tags):
        both = [next(tag for tag in tags if tag[0] in letters) for letters in ("ES", "LU")]
        raise DataError(
            f"{where}: some tags are spelled as in IOBES and some as in BILOU: {tagged.quote_tags(both)}. "
            "E- is L-, and S- is U-; keep to one of the two."
        )
    faults = _faults(pairs, scheme)
    if faults:
        others = [repr(other) for other in _WITH_PREFIXES if other != scheme and _is_valid(tags, pairs, other)]
        advice = f"All rows are valid in the scheme {others[0]}; name that." if others else "Correct these rows."
        allowed = functools.partial(_allowed_after, tags, scheme)
        raise DataError(f"{where}: in the scheme {scheme!r}, {tagged.quote_pairs(faults, allowed)}. {advice}")


def convert(tags: Sequence[str], source: TagScheme, target: TagScheme) -> list[str]:
    """Writes the tags of one sequence in another scheme; from "bioes" to itself, BILOU becomes IOBES.

    Args:
        tags: The tag of each token.
        source: Their scheme.
        target: The scheme to write.

    Returns:
        The tag of each token.

    Raises:
        DataError: When the tags are not valid, or the other scheme cannot write them.
    """
    spans = spans_of(tags, source)
    for place, pair in enumerate(_pairs(tags)):
        if not _is_allowed(pair, source):
            raise DataError(
                f"Token {min(place, len(tags) - 1)}: in the scheme {source!r}, {_described(pair)}. Correct the tags."
            )
    return tags_of(spans, len(tags), target)


def allowed_transitions(labels: Sequence[str], scheme: TagScheme) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns which labels may follow which, for a decoder that finds the best valid sequence.

    Args:
        labels: The tag of each class.
        scheme: Their scheme.

    Returns:
        Bool of shape `(num_labels, num_labels)`, true where the second label may follow the first; bool of shape
        `(num_labels,)`, true where a label may begin a sequence; and the same for its end.

    Raises:
        DataError: When the scheme has no such label.
    """
    parsed = [parse_tag(label, scheme) for label in labels]
    if None in parsed:
        raise DataError(f"The label {labels[parsed.index(None)]!r} is no tag of the scheme {scheme!r}.")
    tags = [*filter(None, parsed), EDGE]
    allowed = np.array([[may_follow(before, tag, scheme) for tag in tags] for before in tags], dtype=bool)
    return allowed[:-1, :-1], allowed[-1, :-1], allowed[:-1, -1]


def spans_of_characters(text: str, words: Sequence[tuple[int, int]], spans: Iterable[Span]) -> list[Span]:
    """Finds the words that spans of characters consist of.

    Args:
        text: The text.
        words: Start and end of each word in the text, in order.
        spans: Spans by position of characters, in any order.

    Returns:
        The spans in order, by position of words.

    Raises:
        DataError: When words or spans overlap, are empty or out of range, words are not in order, or a span does not
            begin where a word begins and end where a word ends; no span is shifted.
    """
    places = in_order([Span(*word, "") for word in words], len(text), unit="characters")
    if [place[:2] for place in places] != [tuple(word) for word in words]:
        raise DataError("The words are not in order of their position in the text.")
    starts = {word.start: place for place, word in enumerate(places)}
    ends = {word.end: place for place, word in enumerate(places, 1)}
    found = []
    for span in in_order(spans, len(text), unit="characters"):
        if span.start not in starts or span.end not in ends:
            raise DataError(_between_words(text, places, span))
        found.append(Span(starts[span.start], ends[span.end], span.type))
    return found


def _between_words(text: str, words: Sequence[Span], span: Span) -> str:
    """Returns the message for a span that does not consist of whole words."""
    touched = [word for word in words if word.start < span.end and span.start < word.end]
    cut = [word for word in touched if word.start < span.start or span.end < word.end]
    name = f"The span of characters {span.start}:{span.end} ({span.type}), {text[span.start : span.end]!r},"
    if not touched:
        return f"{name} has no word in it. Correct or remove it."
    start, end = touched[0].start, touched[-1].end
    whole = f"{text[start:end]!r} is {start}:{end}"
    if cut:
        listed = " and ".join(f"{text[word.start : word.end]!r} ({word.start}:{word.end})" for word in cut)
        return f"{name} cuts {listed}. Correct the span ({whole}), or cut the text into smaller words."
    return f"{name} does not begin and end where words do. Correct the span ({whole})."


@dataclasses.dataclass(frozen=True)
class _Tagged:
    """Rows of tags, with what messages say of them."""

    sequences: Sequence[Sequence[str]]
    where: Origin
    rows: np.ndarray | None

    def tags(self) -> list[str]:
        """Returns all tags, in order of appearance."""
        return list(dict.fromkeys(itertools.chain.from_iterable(self.sequences)))

    def pairs(self) -> list[_Pair]:
        """Returns all pairs of tags in a row, in order of appearance."""
        found: dict[_Pair, None] = {}
        for tags in self.sequences:
            found |= dict.fromkeys(_pairs(tags))
        return list(found)

    def quote_tags(self, tags: Sequence[str], scheme: TagScheme | None = None, known: Collection[str] = ()) -> str:
        """Returns tags with their rows, and with their likely spelling in a scheme."""
        quotes = []
        for tag in tags[:_QUOTED]:
            meant = None if scheme is None else _nearest_tag(tag, scheme, known)
            hint = f"; did you mean {meant!r}?" if meant is not None else ""
            quotes.append(f"{tag!r} ({self._rows([tag in row for row in self.sequences])}{hint})")
        return name_list([*quotes, *tags[_QUOTED:]], most=_QUOTED)

    def quote_pairs(self, pairs: Sequence[_Pair], allowed: Callable[[str | None], str] | None = None) -> str:
        """Returns pairs of tags with their rows, and with what is allowed instead."""
        quotes = []
        for pair in pairs[:_QUOTED]:
            rows = self._rows([pair in _pairs(row) for row in self.sequences])
            instead = "" if allowed is None else f", where {allowed(pair[0])} may stand"
            quotes.append(f"{_described(pair)} ({rows}){instead}")
        more = f"; and {len(pairs) - _QUOTED} more" if len(pairs) > _QUOTED else ""
        return "; ".join(quotes) + more

    def _rows(self, matches: Sequence[bool]) -> str:
        found = np.flatnonzero(matches)
        return self.where.rows(found + 1 if self.rows is None else self.rows[found])


def _pairs(tags: Sequence[str]) -> Iterable[_Pair]:
    return itertools.pairwise((None, *tags, None))


def _parsed(tag: str | None, scheme: TagScheme) -> Tag:
    parsed = None if tag is None else parse_tag(tag, scheme)
    return EDGE if parsed is None else parsed


def _is_allowed(pair: _Pair, scheme: TagScheme) -> bool:
    before, tag = pair
    return may_follow(_parsed(before, scheme), _parsed(tag, scheme), scheme)


def _faults(pairs: Sequence[_Pair], scheme: TagScheme) -> list[_Pair]:
    return [pair for pair in pairs if not _is_allowed(pair, scheme)]


def _is_valid(tags: Sequence[str], pairs: Sequence[_Pair], scheme: TagScheme) -> bool:
    if any(parse_tag(tag, scheme) is None for tag in tags) or _spelled_twice(tags):
        return False
    return not _faults(pairs, scheme)


def _spelled_twice(tags: Sequence[str]) -> bool:
    """Tells whether tags are written in IOBES and in BILOU."""
    prefixes = {tag.partition("-")[0] for tag in tags}
    return not prefixes.isdisjoint("ES") and not prefixes.isdisjoint("LU")


def _allowed_after(tags: Sequence[str], scheme: TagScheme, before: str | None) -> str:
    """Returns what may stand after a tag, for the types of all tags and in their spelling."""
    kinds = sorted({_parsed(tag, scheme).type for tag in tags if tag != OUTSIDE})
    bilou = any(tag.partition("-")[0] in {"L", "U"} for tag in tags)
    spelling = {"E": "L", "S": "U"} if bilou else {}
    allowed = []
    for tag in [EDGE, *(Tag(prefix, kind) for kind in kinds for prefix in "BIES")]:
        if tag.prefix in {OUTSIDE, *PREFIXES[scheme]} and may_follow(_parsed(before, scheme), tag, scheme):
            allowed.append(repr(str(Tag(spelling.get(tag.prefix, tag.prefix), tag.type))))
    return name_list(allowed)


def _described(pair: _Pair) -> str:
    before, tag = pair
    if tag is None:
        return f"{before!r} ends a sequence"
    return f"{tag!r} begins a sequence" if before is None else f"{tag!r} follows {before!r}"


def _refuse_malformed(tagged: _Tagged, tags: Sequence[str], scheme: TagScheme) -> None:
    malformed = [tag for tag in tags if parse_tag(tag, scheme) is None]
    if not malformed:
        return
    known = [tag for tag in tags if tag not in malformed]
    prefixes = " or ".join(f"{prefix}-" for prefix in PREFIXES[scheme])
    allowed = f"{OUTSIDE!r}, and {prefixes} before a type" if prefixes else "anything without white space around it"
    raise DataError(
        f"{tagged.where}: tags that are none of the scheme {scheme!r}: {tagged.quote_tags(malformed, scheme, known)}. "
        f"Allowed: {allowed}. Correct these tags."
    )


def _refuse_misspelt(tagged: _Tagged, tags: Sequence[str], pairs: Sequence[_Pair]) -> None:
    """Fails when tags without prefixes would follow a scheme, had they its spelling."""
    for scheme in _WITH_PREFIXES:
        spelled: Mapping[str | None, str | None] = {None: None} | {tag: _respelled(tag, scheme) for tag in tags}
        kept = [tag for tag in spelled.values() if tag is not None]
        if len(kept) == len(tags) and _is_valid(kept, [(spelled[one], spelled[two]) for one, two in pairs], scheme):
            wrong = [tag for tag in tags if spelled[tag] != tag]
            raise DataError(
                f"{tagged.where}: the tags are those of the scheme {scheme!r}, but not in its spelling: "
                f"{tagged.quote_tags(wrong, scheme)}. Correct them, or name the scheme 'plain' if they have no "
                "prefixes."
            )


def _respelled(tag: str, scheme: TagScheme) -> str | None:
    """Returns a tag with its prefix as the scheme has it, or None."""
    bare = tag.strip()
    if scheme == "plain":
        return bare or None
    first, last = _PREFIX_FIRST.fullmatch(bare), _PREFIX_LAST.fullmatch(bare)
    if bare in {"o", "0"}:
        bare = OUTSIDE
    elif first:
        bare = f"{first[1].upper()}-{first[2]}"
    elif last:
        bare = f"{last[2].upper()}-{last[1]}"
    elif len(bare) == 1:
        bare = bare.upper()
    return None if parse_tag(bare, scheme) is None else bare


def _nearest_tag(tag: str, scheme: TagScheme, known: Collection[str]) -> str | None:
    """Returns the tag that was likely meant: among the known ones, or as the scheme spells it."""
    respelled = _respelled(tag, scheme)
    if respelled is None:
        return nearest(tag, known)
    if scheme == "plain":
        return respelled
    meant = _parsed(respelled, scheme)
    kinds = {kind.casefold(): kind for kind in (_parsed(other, scheme).type for other in known)}
    return str(Tag(respelled[0], kinds.get(meant.type.casefold(), meant.type)))
