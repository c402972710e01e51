"""Tokenizers of sequences as plain data, and as files: JSON, and the SentencePiece model beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfft.core.errors import ArtifactError, ConfigError, unknown_name
from tfft.layers.sequence_tokenizer import IntegerTokenizer, SequenceTokenizer, SubwordTokenizer, WordTokenizer

#: Names of the files in the directory of a tokenizer.
DESCRIPTION, MODEL = "tokenizer.json", "sentencepiece.model"
_KINDS = ("subwords", "words", "integers")


def save_tokenizer(tokenizer: SequenceTokenizer, directory: Path) -> None:
    """Writes the files of a tokenizer.

    Args:
        tokenizer: One of `layers/sequence_tokenizer.py`.
        directory: Where they belong; made if it is not there.

    Raises:
        ConfigError: When the tokenizer is of another class.
    """
    directory.mkdir(parents=True, exist_ok=True)
    described: dict[str, Any]
    if isinstance(tokenizer, SubwordTokenizer):
        (directory / MODEL).write_bytes(tokenizer.model)
        described = {"kind": "subwords"}
    elif isinstance(tokenizer, WordTokenizer):
        described = {"kind": "words", "words": list(tokenizer.words)}
    elif isinstance(tokenizer, IntegerTokenizer):
        described = {"kind": "integers", "largest": tokenizer.largest}
    else:
        raise ConfigError(f"A {type(tokenizer).__name__} cannot be saved; those of {', '.join(_KINDS)} can.")
    (directory / DESCRIPTION).write_text(json.dumps(described, ensure_ascii=False), "utf-8")


def load_tokenizer(directory: Path) -> SequenceTokenizer:
    """Reads the files of a tokenizer.

    Args:
        directory: Where `save_tokenizer` wrote them.

    Returns:
        A tokenizer with the same ids.

    Raises:
        ArtifactError: When a file is missing or was altered.
    """
    file = directory / DESCRIPTION
    try:
        described = json.loads(file.read_text("utf-8"))
        if not isinstance(described, dict):
            raise ArtifactError(f"{file} holds a {type(described).__name__}, no description. Save the model again.")
        return _made(described, (directory / MODEL).read_bytes)
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{directory} holds no tokenizer that can be read: {error}. Save the model again."
        ) from None
    except KeyError as error:
        raise ArtifactError(f"{file} lacks {error}. Save the model again.") from None
    except ConfigError as error:
        raise ArtifactError(f"{directory}: {error}") from None


def tokenizer_from(plain: Mapping[str, Any]) -> SequenceTokenizer:
    """Makes a tokenizer of plain data, as `data/learned_tokenizers.py` gives it.

    Args:
        plain: The key `kind`, and what belongs to it.

    Returns:
        The tokenizer.

    Raises:
        ArtifactError: When it was altered.
    """
    try:
        return _made(plain, lambda: base64.b64decode(plain["model"], validate=True))
    except (KeyError, ValueError, ConfigError) as error:
        raise ArtifactError(f"The description of a tokenizer was altered: {error}. Save the model again.") from None


def _made(described: Mapping[str, Any], model: Callable[[], bytes]) -> SequenceTokenizer:
    kind = described["kind"]
    if kind == "subwords":
        return SubwordTokenizer(model())
    if kind == "words":
        words = described["words"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ConfigError("The words of the vocabulary are no list of texts. Save the model again.")
        return WordTokenizer(words)
    if kind == "integers":
        return IntegerTokenizer(described["largest"])
    raise ConfigError(unknown_name("kind of tokenizer", str(kind), _KINDS))
