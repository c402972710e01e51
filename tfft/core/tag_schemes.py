"""Tag schemes: how a tag for each token marks spans of tokens, such as the entities of a sentence."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from tfft.core.errors import DataError

#: "bio": B- begins each span, I- goes on (IOB2; Tjong Kim Sang and Veenstra, 1999, https://arxiv.org/abs/cs/9907006).
#: "iob1": I- both begins and goes on; B- only begins a span right after one of the same type (Ramshaw and Marcus, 1995,
#: https://arxiv.org/abs/cmp-lg/9505040).
#: "bioes": E- ends a span of several tokens, S- is a span of one (IOBES; written L- and U-, it is called BILOU).
#: "plain": tags have no prefix and may follow each other in any order; a run of one tag is a span.
#: In each, "O" is a token outside of all spans, and a prefix may stand alone where there is only one type.
TagScheme = Literal["bio", "iob1", "bioes", "plain"]
OUTSIDE = "O"
#: The prefixes of each scheme, by their spellings.
PREFIXES: Mapping[TagScheme, Mapping[str, str]] = {
    "bio": {"B": "B", "I": "I"},
    "iob1": {"B": "B", "I": "I"},
    "bioes": {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S"},
    "plain": {},
}


class Span(NamedTuple):
    """Tokens or characters of one type.

    Attributes:
        start: Position of the first, from 0.
        end: Position after the last.
        type: What they are, such as "PER"; "" where prefixes stand alone.
    """

    start: int
    end: int
    type: str


class Tag(NamedTuple):
    """A tag, taken apart.

    Attributes:
        prefix: "B", "I", "E", "S" or "O"; plain tags count as "I".
        type: The type of the span; "" for "O" and for prefixes that stand alone.
    """

    prefix: str
    type: str

    def __str__(self) -> str:
        """Returns the tag as it is written in schemes with prefixes."""
        return f"{self.prefix}-{self.type}" if self.type else self.prefix


#: What stands before and after a sequence, as far as the order of tags goes.
EDGE = Tag(OUTSIDE, "")


@functools.lru_cache(maxsize=4096)
def parse_tag(tag: str, scheme: TagScheme) -> Tag | None:
    """Takes a tag apart.

    Args:
        tag: The tag as written.
        scheme: Its scheme.

    Returns:
        Its parts, in the spelling of "bioes" rather than BILOU; None when the scheme has no such tag.
    """
    if not tag or tag != tag.strip():
        return None
    if tag == OUTSIDE:
        return EDGE
    if scheme == "plain":
        return Tag("I", tag)
    prefix, dash, kind = tag.partition("-")
    known = PREFIXES[scheme].get(prefix)
    return None if known is None or (dash and not kind) else Tag(known, kind)


def may_follow(before: Tag, tag: Tag, scheme: TagScheme) -> bool:
    """Tells whether a scheme allows one tag right after another.

    Args:
        before: The first tag; `EDGE` at the beginning of a sequence.
        tag: The second tag; `EDGE` at the end of a sequence.
        scheme: The scheme of both.

    Returns:
        Whether the pair is allowed; a sequence is valid when each of its pairs is.
    """
    goes_on = before.prefix != OUTSIDE and before.type == tag.type
    if scheme == "bio":
        return tag.prefix != "I" or goes_on
    if scheme == "iob1":
        return tag.prefix != "B" or goes_on
    if scheme == "bioes":
        if before.prefix in {"B", "I"}:
            return tag.prefix in {"I", "E"} and goes_on
        return tag.prefix not in {"I", "E"}
    return True


def begins_span(before: Tag, tag: Tag) -> bool:
    """Tells whether a span begins between two tags: startOfChunk of conlleval, with S- as in its later versions.

    Args:
        before: The tag before; `EDGE` at the beginning of a sequence.
        tag: The tag.

    Returns:
        Whether a span begins at `tag`, whether or not the scheme allows it there.
    """
    if tag.prefix == OUTSIDE:
        return False
    return tag.prefix in {"B", "S"} or before.prefix in {OUTSIDE, "E", "S"} or before.type != tag.type


def spans_of(tags: Sequence[str], scheme: TagScheme) -> list[Span]:
    """Returns the spans that tags mark.

    Sequences that are not valid, such as predicted ones, are read as the evaluation script of CoNLL-2000 and CoNLL-2003
    (conlleval) reads them: B- and S- always begin a span, and so does any other tag after "O", E-, S- or another type.

    Args:
        tags: The tag of each token.
        scheme: Their scheme.

    Returns:
        The spans in order, by position of tokens.

    Raises:
        DataError: When the scheme has no such tag.
    """
    spans: list[Span] = []
    start, before = 0, EDGE
    for place, written in enumerate(tags):
        tag = parse_tag(written, scheme)
        if tag is None:
            raise DataError(f"Token {place} has the tag {written!r}, which is none of the scheme {scheme!r}.")
        begins = begins_span(before, tag)
        if before.prefix != OUTSIDE and (begins or tag.prefix == OUTSIDE):
            spans.append(Span(start, place, before.type))
        if begins:
            start = place
        before = tag
    if before.prefix != OUTSIDE:
        spans.append(Span(start, len(tags), before.type))
    return spans


def tags_of(spans: Iterable[Span], length: int, scheme: TagScheme) -> list[str]:
    """Returns the tags that mark spans.

    Args:
        spans: The spans by position of tokens, in any order.
        length: Number of tokens.
        scheme: The scheme to write.

    Returns:
        The tag of each token, "O" outside of spans.

    Raises:
        DataError: When spans overlap, are empty or out of range, or the scheme cannot write them.
    """
    tags = [OUTSIDE] * length
    before = Span(0, 0, "")
    for span in in_order(spans, length, unit="tokens"):
        touches = span.start == before.end > before.start and span.type == before.type
        if scheme == "plain":
            _refuse_unwritable(span, touches=touches)
            tags[span.start : span.end] = [span.type] * (span.end - span.start)
        else:
            prefixes = _prefixes(span.end - span.start, scheme, touches=touches)
            tags[span.start : span.end] = [str(Tag(prefix, span.type)) for prefix in prefixes]
        before = span
    return tags


def _prefixes(length: int, scheme: TagScheme, *, touches: bool) -> Sequence[str]:
    if scheme == "bioes":
        return "S" if length == 1 else f"B{'I' * (length - 2)}E"
    begins = "I" if scheme == "iob1" and not touches else "B"
    return begins + "I" * (length - 1)


def _refuse_unwritable(span: Span, *, touches: bool) -> None:
    if parse_tag(span.type, "plain") in {None, EDGE}:
        raise DataError(f"The type {span.type!r} cannot be a tag of the scheme 'plain'; give it another name.")
    if touches:
        raise DataError(
            f"Two spans of the type {span.type!r} touch at token {span.start}; the scheme 'plain' would make them one. "
            "Take the scheme 'bio'."
        )


def in_order(spans: Iterable[Span], length: int, *, unit: str) -> list[Span]:
    """Returns spans sorted by position.

    Args:
        spans: The spans.
        length: How much there is to span.
        unit: What is counted, for messages: "tokens" or "characters".

    Returns:
        The spans in order.

    Raises:
        DataError: When spans overlap, are empty or out of range.
    """
    ordered = sorted(Span(*span) for span in spans)
    for span in ordered:
        if not 0 <= span.start < span.end <= length:
            raise DataError(
                f"The span of {unit} {_named(span)} is {'empty' if span.start == span.end else 'out of range'}: "
                f"0 <= start < end <= {length} must hold, and end is the position after the last."
            )
    for before, span in itertools.pairwise(ordered):
        if span.start < before.end:
            raise DataError(f"The spans of {unit} {_named(before)} and {_named(span)} overlap; no tag can mark both.")
    return ordered


def _named(span: Span) -> str:
    return f"{span.start}:{span.end}" + (f" ({span.type})" if span.type else "")
