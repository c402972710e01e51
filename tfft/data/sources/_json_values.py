"""JSON values, parsed fast where that changes nothing, and objects of an array one after the other."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from tfft.data.text_file import CHUNK_CHARACTERS, LONGEST_LINE

#: From here on orjson may have rounded a whole number to a float.
_LARGE = 2.0**63
_SPACE = re.compile(r"[ \t\n\r]*")


def parse_lines(lines: Sequence[bytes]) -> list[Any]:
    """Parses JSON texts as fast as it goes; only whole numbers too large for 64 bits may be inexact.

    Args:
        lines: UTF-8.

    Returns:
        The values.

    Raises:
        ValueError: When one is not valid JSON, holds NaN or a lone surrogate, or is not valid UTF-8.
        RecursionError: When one is nested too deeply.
    """
    return list(map(_fast, lines))


def parse(line: bytes) -> Any:
    """Parses a JSON text like `parse_lines`, or else like `parse_exactly`."""
    try:
        return _fast(line)
    except ValueError:
        return parse_exactly(line)


def parse_exactly(text: bytes) -> Any:
    """Parses a JSON text; a number too large for a float stays text.

    Args:
        text: UTF-8; bytes that are not valid in it become lone surrogates.

    Returns:
        The value.

    Raises:
        ValueError: When it is not valid JSON.
        RecursionError: When it is nested too deeply.
    """
    return _EXACT.decode(text.decode("utf-8", "surrogateescape"))


def is_inexact(value: Any) -> bool:
    """Tells whether a value that `parse_lines` returned may hold a whole number that was rounded."""
    if isinstance(value, float):
        return abs(value) >= _LARGE
    if isinstance(value, list):
        return any(map(is_inexact, value))
    return isinstance(value, dict) and any(map(is_inexact, value.values()))


def why_not_json(error: Exception) -> str:
    """Returns the reason why a text is not valid JSON, on one line."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return str(error)


def array_objects(blocks: Iterator[str], size: int) -> Iterator[tuple[list[Any], int]]:
    """Parses an array of objects, one after the other.

    Args:
        blocks: The text of the array.
        size: Objects yielded at a time.

    Yields:
        Some objects and the length of their text, in order.

    Raises:
        ValueError: When the array is not valid JSON, or an item is no object; all before were yielded.
        RecursionError: When an object is nested too deeply.
    """
    text = _Text(blocks)
    objects: list[Any] = []
    try:
        text.expect("[")
        last = text.peek() == "]"
        while not last:
            objects.append(text.object())
            last = text.peek() == "]"
            if not last:
                text.expect(",")
            if len(objects) == size or text.taken > CHUNK_CHARACTERS:
                yield objects, text.taken
                objects, text.taken = [], 0
        text.expect("]")
        text.expect("")
    except (ValueError, RecursionError):
        yield objects, text.taken
        raise
    yield objects, text.taken


class _Text:
    """JSON text that comes in blocks.

    Attributes:
        taken: Characters of the objects parsed, until it is set back.
    """

    def __init__(self, blocks: Iterator[str]) -> None:
        """Starts before the first block."""
        self.taken = 0
        self._blocks = blocks
        self._text = ""
        self._place = 0

    def peek(self) -> str:
        """Returns the next character that is not white space; "" at the end."""
        while True:
            self._place = _SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def expect(self, character: str) -> None:
        """Takes one character; "" stands for the end."""
        found = self.peek()
        if found != character:
            names = {"": "the end of the file"}
            raise ValueError(f"expected {names.get(character, repr(character))}, got {names.get(found, repr(found))}")
        self._place += len(character)

    def object(self) -> Any:
        """Takes one object."""
        if self.peek() != "{":
            raise ValueError(f'expected an object like {{"text": ...}}, got {self._text[self._place :][:20]!r}')
        while True:
            try:
                found, end = _EXACT.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                place = error.pos - self._place + 1
                if not self._more():  # it may only have been cut off
                    raise ValueError(f"{error.msg} at character {place} of the object") from None
            else:
                self.taken += end - self._place
                self._place = end
                return found

    def _more(self) -> bool:
        """Reads on, at least as much as is still there, so that parsing again costs little in all; False at the end."""
        parts = [self._text[self._place :]]
        wanted = len(parts[0])
        if wanted > LONGEST_LINE:
            return False
        got = 0
        for block in self._blocks:
            parts.append(block)
            got += len(block)
            if got >= wanted:
                break
        self._text, self._place = "".join(parts), 0
        return got > 0


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


_EXACT = json.JSONDecoder(parse_float=_finite)

_fast: Callable[[bytes], Any] = orjson.loads
