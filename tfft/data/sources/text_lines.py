"""Text files without any structure: one text a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from tfft.core.errors import DataError
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest, is_file_like, select_columns, sources
from tfft.data.text_file import CHUNK_CHARACTERS, UnreadableError, text_blocks, whole_lines

#: The only column.
TEXT = "text"


class TextLines:
    """Reads each line as a row, whose number is that of the line; the one column is called "text".

    A blank line is a row too, with a blank text, so that whoever leaves it out counts it.
    """

    endings: ClassVar[tuple[str, ...]] = (".txt",)

    def accepts(self, source: Any) -> bool:
        """Accepts paths that end in .txt, compressed or not."""
        return is_file_like(source, self.endings)

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads the lines.

        Args:
            request: What to read.

        Yields:
            Chunks of strings.

        Raises:
            DataError: When the file is missing, empty or unreadable, or another column is wanted.
        """
        path = Path(request.source)
        wanted = [TEXT] if request.columns is None else request.columns
        select_columns([TEXT], wanted, str(path))
        rows, held, characters = 0, list[str](), 0
        try:
            for block in whole_lines(text_blocks(path, request.encoding, request.console)):
                for line in block.removesuffix("\n").split("\n"):
                    held.append(line.removesuffix("\r"))
                    characters += len(line)
                    if len(held) == CHUNK_ROWS or characters > CHUNK_CHARACTERS:
                        yield dict.fromkeys(wanted, held)
                        rows, held, characters = rows + len(held), [], 0
        except UnreadableError as error:
            raise DataError(f"{path}, row {rows + len(held) + 1}: {error}") from None
        if held:
            yield dict.fromkeys(wanted, held)


sources.register("text_lines")(TextLines())
