"""Reading a thesaurus: which words may stand for a word."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tfft.core.errors import ConfigError, name_list


def read_thesaurus(thesaurus: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, list[str]]:
    """Reads a thesaurus.

    Args:
        thesaurus: Word to its synonyms (a list, or one word); or a UTF-8 file: JSON or YAML of such a mapping, or CSV
            or TSV without a header, each line a word and its synonyms.

    Returns:
        Word to synonyms; a word that stands on several lines has those of all.

    Raises:
        ConfigError: When the file cannot be read, or something in it is no word.
    """
    if isinstance(thesaurus, Mapping):
        return _checked(thesaurus, "The thesaurus")
    path = Path(thesaurus)
    if path.suffix.lower() not in _PARSERS:
        raise ConfigError(
            f"The thesaurus {path} has none of the endings that tell its format: {', '.join(_PARSERS)}. A thesaurus is "
            "such a file, or a mapping from words to lists of words."
        )
    try:
        entries = _PARSERS[path.suffix.lower()](path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"The thesaurus {path} cannot be read: {error.strerror}.") from None
    except (ValueError, yaml.YAMLError, csv.Error) as error:  # ValueError: bad bytes, or no JSON
        raise ConfigError(f"The thesaurus {path} is not valid: {' '.join(str(error).split())}.") from None
    return _checked(entries, f"The thesaurus {path}")


def _delimited(content: str, delimiter: str) -> dict[str, list[str]]:
    entries: dict[str, list[str]] = {}
    for row in csv.reader(content.splitlines(keepends=True), delimiter=delimiter, strict=True):
        if any(cell.strip() for cell in row):
            entries.setdefault(row[0].strip(), []).extend(cell.strip() for cell in row[1:] if cell.strip())
    return entries


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".csv": lambda content: _delimited(content, ","),
    ".tsv": lambda content: _delimited(content, "\t"),
}


def _checked(entries: Any, what: str) -> dict[str, list[str]]:
    if not isinstance(entries, Mapping):
        raise ConfigError(f"{what} should map words to lists of words; it is a {type(entries).__name__}.")
    found, wrong = {}, []
    for word, synonyms in entries.items():
        listed = [synonyms] if isinstance(synonyms, str) else synonyms
        if (
            isinstance(word, str)
            and word.strip()
            and isinstance(listed, list | tuple)
            and listed
            and all(isinstance(item, str) and item.strip() for item in listed)
        ):
            found[word.strip()] = [item.strip() for item in listed]
        else:
            wrong.append(repr(word))
    if wrong:
        raise ConfigError(
            f"{what} has {len(wrong):,} entries that are not a word with a list of words, for instance "
            f"{name_list(wrong)}. Quote words that YAML takes for something else, such as no and 1."
        )
    if not found:
        raise ConfigError(f"{what} is empty.")
    return found
