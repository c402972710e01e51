"""A function that makes the data: synthetic rows, a generator, or any other source."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from tfft.core.errors import DataError
from tfft.data.read import Reader
from tfft.data.sources._rows import RowGatherer
from tfft.data.sources._weight import blocks
from tfft.data.sources.base import Columns, ReadRequest, sources


class Function:
    """Calls a function without arguments, and calls it again for each reading.

    It returns or yields rows (dicts, or tuples in the order of the columns), or returns any other source.
    """

    endings: ClassVar[tuple[str, ...]] = ()

    def accepts(self, source: Any) -> bool:
        """Accepts whatever can be called; iterators too, to say what to pass instead."""
        return callable(source) or isinstance(source, Iterator)

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Calls the function and reads what comes of it.

        Args:
            request: What to read.

        Yields:
            Chunks of rows.

        Raises:
            DataError: When the function needs arguments, fails, or gives something that cannot be read.
        """
        if not callable(request.source):
            raise DataError(
                f"A {type(request.source).__name__} can be read only once, but data is read more than once. Pass a "
                "function that makes it, without calling it; for a generator that is the generator function."
            )
        where = f"The function {_name(request.source)}"
        result = _call(request.source, where)
        if _is_source(result):
            yield from _reread(result, request, where)
            return
        gatherer = RowGatherer(request.columns, where)
        first_row = 1
        for block in blocks(_guarded(result, where)):
            gatherer.look(block, first_row)
            yield gatherer.columns(block)
            first_row += len(block)
        gatherer.check()


def _name(function: Callable[..., Any]) -> str:
    function = getattr(function, "func", function)  # of a partial
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).rpartition("<locals>.")[2]


def _call(function: Callable[[], Any], where: str) -> Any:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise DataError(
            f"{where} cannot be called without arguments: {error}. Give them defaults, or pass a function that "
            "passes them: lambda: make_rows(1000)."
        ) from error
    except ValueError:
        pass  # written in C, without a signature
    try:
        result = function()
    except Exception as error:
        raise DataError(f"{where} failed: {_said(error)}") from error
    if inspect.iscoroutine(result):
        result.close()
    readable = isinstance(result, (Iterable, os.PathLike)) and not isinstance(result, (set, frozenset))
    if callable(result) or not readable:
        found = "nothing" if result is None else f"a value of type {type(result).__name__}"
        raise DataError(
            f"{where} returned {found}. Return or yield rows (dicts, or tuples in the order of the columns), or return "
            "a path, a DataFrame or another source."
        )
    return result


def _is_source(result: Any) -> bool:
    if isinstance(result, (str, os.PathLike)):
        return True
    if isinstance(result, Iterator):
        return False
    return any(sources.get(name).accepts(result) for name in sources)


def _reread(result: Any, request: ReadRequest, where: str) -> Iterator[Columns]:
    try:
        for chunk in Reader(result, request.columns, encoding=request.encoding, console=request.console):
            yield chunk.columns
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _guarded(rows: Iterable[Any], where: str) -> Iterator[Any]:
    """Yields rows; names the row that the user's code failed at."""
    number = 0
    try:
        for row in rows:
            number += 1
            yield row
    except Exception as error:
        raise DataError(f"{where} failed at row {number + 1}: {_said(error)}") from error


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


sources.register("function")(Function())
