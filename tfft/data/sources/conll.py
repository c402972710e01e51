"""CoNLL files: a token a line with its tags, and a blank line after each sentence."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tfft.core.errors import DataError
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest, file_ending, is_file_like, select_columns, sources
from tfft.data.text_file import CHUNK_CHARACTERS, UnreadableError, text_blocks, whole_lines

_UNIVERSAL = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
#: Second names for columns of CoNLL-U files.
_ALIASES = {"tokens": "form", "tags": "upos"}
#: Lines of CoNLL-U that are no words: multiword tokens (1-2), whose words follow, and words left out in writing (1.1).
_NO_WORD = re.compile(r"\d+[-.]\d+")
_DOCUMENT = "-DOCSTART-"
#: A comment, however many words it has.
_KEY_VALUE = re.compile(r"#\s*\S+\s*=")
#: A sentence may have this many tokens. More mean that no blank lines stand between sentences.
MOST_TOKENS = 1_000_000


class ConllFile:
    """Reads sentences as rows; each column is a list of strings, all as long as the sentence has tokens.

    The first column is called "tokens", the last "tags", those between "column_1" and so on. Columns are separated by
    tabs if the first token line has one, else by spaces. Lines that begin with -DOCSTART- are left out, and so are
    comments: lines that begin with # where a sentence begins, unless they have as many columns as the token lines and
    do not read "# key = value".

    CoNLL-U files (.conllu) have their ten standard names, and "tokens" and "tags" for "form" and "upos". Only words are
    tokens: lines of multiword tokens (1-2) and of empty nodes (1.1) are left out.
    """

    endings: ClassVar[tuple[str, ...]] = (".conll", ".conllu", ".iob", ".iob2", ".bio")

    def accepts(self, source: Any) -> bool:
        """Accepts paths that end in .conll, .conllu, .iob, .iob2 or .bio, compressed or not."""
        return is_file_like(source, self.endings)

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads the requested columns.

        Args:
            request: What to read.

        Yields:
            Chunks of lists of strings.

        Raises:
            DataError: When the file is missing, empty, a line has too few or too many columns, or a column is missing.
        """
        sentences = _Sentences(request)
        if sentences.layout is None:
            request.console.say(f"{sentences.path} has no rows.")
            return
        wanted = request.columns if request.columns is not None else sentences.layout.names
        positions = sentences.layout.positions(wanted, str(sentences.path))
        chunk: Columns = {name: [] for name in wanted}
        rows, taken = 0, sentences.characters
        for sentence in sentences:
            for name, position in zip(wanted, positions, strict=True):
                chunk[name].append([fields[position] for fields in sentence])
            rows += 1
            if rows == CHUNK_ROWS or sentences.characters - taken > CHUNK_CHARACTERS:
                yield chunk
                chunk = {name: [] for name in wanted}
                rows, taken = 0, sentences.characters
        if rows:
            yield chunk
        if said := sentences.left_out():
            request.console.say(f"{sentences.path}: {said}")


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How token lines look.

    Attributes:
        names: The names of the columns.
        tabs: Whether tabs separate them, rather than spaces.
        universal: Whether the file is CoNLL-U.
    """

    names: Sequence[str]
    tabs: bool
    universal: bool

    def fields(self, line: str) -> list[str]:
        """Returns the columns of a line."""
        return line.split("\t") if self.tabs else list(filter(None, line.split(" ")))

    def positions(self, wanted: Sequence[str], where: str) -> list[int]:
        """Returns the position of each wanted column."""
        if self.universal:
            wanted = [_ALIASES.get(name, name) for name in wanted]
        return select_columns(self.names, wanted, where)

    def is_comment(self, line: str, fields: Sequence[str]) -> bool:
        """Tells whether a line that begins with # is a comment; it stands where a sentence begins."""
        return self.universal or len(fields) != len(self.names) or _KEY_VALUE.match(line) is not None


class _Sentences:
    """The sentences of a file.

    Attributes:
        path: The file.
        layout: How token lines look; None when there are none.
        characters: How much of the file was taken.
    """

    def __init__(self, request: ReadRequest) -> None:
        """Reads as far as the layout needs."""
        self.path = Path(request.source)
        self.characters = 0
        self._row = 1
        self._line = 0
        self._comments = 0
        blocks = whole_lines(text_blocks(self.path, request.encoding, request.console))
        begun: list[str] = []
        self.layout: _Layout | None = None
        try:
            for block in blocks:
                begun.append(block)
                self.layout = _layout(block, universal=file_ending(self.path) == ".conllu")
                if self.layout is not None:
                    break
        except UnreadableError as error:
            raise DataError(f"{self.path}, row 1: {error}") from None
        self._blocks = itertools.chain(begun, blocks)

    def __iter__(self) -> Iterator[list[list[str]]]:
        """Yields each sentence: the columns of each of its tokens."""
        sentence: list[list[str]] = []
        for line in self._lines():
            if not line or line.startswith(_DOCUMENT):
                if sentence:
                    yield sentence
                    sentence = []
                    self._row += 1
            elif fields := self._token(line, begins=not sentence):
                sentence.append(fields)
                if len(sentence) > MOST_TOKENS:
                    raise self._error(f"more than {MOST_TOKENS:,} tokens. Put a blank line after each sentence.")
        if sentence:
            yield sentence

    def left_out(self) -> str:
        """Returns what was left out and may have been meant as tokens, "" for nothing."""
        if self.layout is None or self.layout.universal or not self._comments:
            return ""
        lines = "line that begins" if self._comments == 1 else "lines that begin"
        return f"{self._comments:,} {lines} with # left out as comments"

    def _lines(self) -> Iterator[str]:
        """Yields lines without what ends them; blank ones are empty."""
        try:
            for block in self._blocks:
                self.characters += len(block)
                for line in map(_bare, block.removesuffix("\n").split("\n")):
                    self._line += 1
                    if "\r" in line:
                        raise self._error("a carriage return inside the line. Convert the line ends of the file.")
                    yield line if line.strip(" \t") else ""
        except UnreadableError as error:
            raise DataError(f"{self.path}, row {self._row}: {error}") from None

    def _token(self, line: str, *, begins: bool) -> list[str]:
        """Returns the columns of a token line; none for a line that is no token."""
        layout = self.layout
        if layout is None:
            return []
        fields = layout.fields(line)
        if begins and line.startswith("#") and layout.is_comment(line, fields):
            self._comments += 1
            return []
        if len(fields) != len(layout.names):
            expected = "CoNLL-U has" if layout.universal else "the first token line has"
            by = "tabs" if layout.tabs else "spaces"
            raise self._error(
                f"{len(fields)} columns, but {expected} {len(layout.names)}, separated by {by}. Mend the line; "
                "a blank line ends a sentence."
            )
        return [] if layout.universal and _NO_WORD.fullmatch(fields[0]) else fields

    def _error(self, problem: str) -> DataError:
        return DataError(f"{self.path}, row {self._row} (line {self._line}): {problem}")


def _layout(text: str, *, universal: bool) -> _Layout | None:
    """Finds out how token lines look from the first one."""
    first = next(
        (line for line in map(_bare, text.split("\n")) if line.strip(" \t") and not line.startswith(("#", _DOCUMENT))),
        None,
    )
    if first is None:
        return None
    if universal:
        return _Layout(_UNIVERSAL, tabs=True, universal=True)
    tabs = "\t" in first
    width = len(_Layout((), tabs, universal=False).fields(first))
    between = [f"column_{place}" for place in range(1, width - 1)]
    return _Layout(("tokens", *between, "tags")[: max(width, 1)], tabs, universal=False)


def _bare(line: str) -> str:
    """Returns a line without the first half of a Windows line end."""
    return line.rstrip("\r")


sources.register("conll")(ConllFile())
