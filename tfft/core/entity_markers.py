"""Two entities of a text, marked in the text itself as SemEval-2010 Task 8 does, or given by their places.

Hendrickx et al. 2010, https://aclanthology.org/S10-1006: "The <e1>author</e1> of a keygen uses a
<e2>disassembler</e2>."
The head entity is in the first pair of markers, the tail entity in the second pair; either may come first in the text.
"""

from __future__ import annotations

from typing import NamedTuple

from tfft.core.errors import DataError

#: Before and after the head entity, and the tail entity.
HEAD_MARKERS, TAIL_MARKERS = ("<e1>", "</e1>"), ("<e2>", "</e2>")
MARKERS = (*HEAD_MARKERS, *TAIL_MARKERS)
#: How entities are marked, for messages.
HOW_TO_MARK = "the head entity as <e1>...</e1> and the tail entity as <e2>...</e2>, each once"


class Span(NamedTuple):
    """A part of a text.

    Attributes:
        start: Place of its first character (Unicode code point), from 0.
        end: Place after its last character.
    """

    start: int
    end: int


class MarkedText(NamedTuple):
    """A text cut at its markers.

    Attributes:
        before: What stands before both entities.
        first: The entity that comes first in the text.
        between: What stands between the entities.
        second: The other entity.
        after: What stands after both.
        head_first: Whether the head entity is the first one.
    """

    before: str
    first: str
    between: str
    second: str
    after: str
    head_first: bool

    @property
    def head(self) -> str:
        """The head entity."""
        return self.first if self.head_first else self.second

    @property
    def tail(self) -> str:
        """The tail entity."""
        return self.second if self.head_first else self.first


def parse_marked(text: str) -> MarkedText | str:
    """Cuts a text at its markers.

    Args:
        text: A text with one head and one tail entity in markers.

    Returns:
        Its parts; or what is wrong with it, in a few words that follow "texts".
    """
    for marker in MARKERS:
        count = text.count(marker)
        if count != 1:
            return f"with no {marker}" if not count else f"with more than one {marker}"
    spans = []
    for opening, closing in (HEAD_MARKERS, TAIL_MARKERS):
        span = Span(text.index(opening) + len(opening), text.index(closing))
        if span.end < span.start:
            return f"whose {closing} stands before {opening}"
        spans.append(span)
    head, tail = spans
    first, second = sorted(spans)
    # The closing marker of the first entity has to stand before the opening one of the second.
    if first.end >= second.start:
        return "whose entities overlap"
    if blank := _blank(text, head, tail):
        return blank
    # Opening markers are as long as each other, and so are closing ones.
    before, after = map(len, HEAD_MARKERS)
    return MarkedText(
        text[: first.start - before],
        text[first.start : first.end],
        text[first.end + after : second.start - before],
        text[second.start : second.end],
        text[second.end + after :],
        head < tail,
    )


def entities_of(text: str) -> MarkedText:
    """Cuts a text at its markers, where they were checked before.

    Args:
        text: A marked text.

    Returns:
        Its parts.

    Raises:
        DataError: When it does not mark two entities.
    """
    found = parse_marked(text)
    if isinstance(found, str):
        raise DataError(f"There is a text {found}: {text[:60]!r}. Mark {HOW_TO_MARK}.")
    return found


def wrong_places(text: str, head: Span, tail: Span) -> str | None:
    """Says what is wrong with the places of two entities.

    Args:
        text: The text, without markers.
        head: Place of the head entity.
        tail: Place of the tail entity.

    Returns:
        A few words that follow "texts"; None when entities can be marked there.
    """
    there = [marker for marker in MARKERS if marker in text]
    if there:
        return f"that hold {there[0]}, which marks entities"
    for name, span in (("head", head), ("tail", tail)):
        if span.start < 0 or span.end > len(text):
            return f"whose {name} entity is outside of the text"
        if span.start >= span.end:
            return f"whose {name} entity ends where it starts, or before"
    first, second = sorted((head, tail))
    if first.end > second.start:
        return "whose entities overlap"
    return _blank(text, head, tail)


def mark_entities(text: str, head: Span, tail: Span) -> str:
    """Puts markers around two entities.

    Args:
        text: The text.
        head: Place of the head entity; `wrong_places` gives None for both.
        tail: Place of the tail entity.

    Returns:
        The marked text.
    """
    marked, done = "", 0
    for (start, end), (opening, closing) in sorted(((head, HEAD_MARKERS), (tail, TAIL_MARKERS))):
        marked += f"{text[done:start]}{opening}{text[start:end]}{closing}"
        done = end
    return marked + text[done:]


def _blank(text: str, head: Span, tail: Span) -> str | None:
    for name, span in (("head", head), ("tail", tail)):
        if not text[span.start : span.end].strip():
            return f"whose {name} entity is blank"
    return None
