"""Which tokenizer is learned of which texts, and that tokenizers are made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfft.config.sequence_options import TokenizerOptions
from tfft.core.errors import ArtifactError, DataError
from tfft.data.learned_tokenizers import learn_tokenizer
from tfft.data.origin import Origin
from tfft.data.schema import TextExamples
from tfft.layers.tokenizer_files import tokenizer_from


def learned(texts: list[str], **options: Any) -> dict[str, Any]:
    rows, where = np.arange(1, len(texts) + 1), Origin("the texts", (("the texts", len(texts)),))
    examples = TextExamples(texts=texts, labels=(), rows=rows, where=where, dropped={}, columns={"target": texts})
    return learn_tokenizer(examples, "target", TokenizerOptions(**options))


SENTENCES = [f"the {thing} of house {number}" for number in range(200) for thing in ("door", "window", "roof")]


@pytest.mark.parametrize("kind", ["auto", "unigram", "bpe", "words"])
def test_texts_come_back(kind: Any) -> None:
    plain = learned(SENTENCES, tokenizer=kind)
    tokenizer = tokenizer_from(plain)
    assert tokenizer.vocabulary_size == plain["vocabulary_size"]
    assert [text.decode() for text in tokenizer.detokenize(tokenizer(SENTENCES[:5])).numpy()] == SENTENCES[:5]


def test_numbers_are_tokens_where_all_texts_are_numbers() -> None:
    assert learned(["3 1", "0,7"]) == {"kind": "integers", "largest": 7, "vocabulary_size": 12}
    assert learned(["3 1", "zero"] * 50)["kind"] == "subwords"
    with pytest.raises(DataError, match="not numbers"):
        learned(["3 1", "zero"], tokenizer="integers")


def test_the_size_follows_the_texts_unless_it_is_said() -> None:
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefghijklmnop"), size=8)) for _ in range(8_000)]
    few = learned([" ".join(random.choice(words, 6)) for _ in range(2_000)])
    many = learned([" ".join(random.choice(words, 6)) for _ in range(8_000)])
    assert few["vocabulary_size"] <= 1_100
    assert 1_400 < many["vocabulary_size"] <= 1_600
    assert learned(SENTENCES, vocabulary_size=60)["vocabulary_size"] <= 60
    chinese = [chr(0x4E00 + number) * 2 for number in range(3_000)]
    assert learned(chinese)["vocabulary_size"] > 3_000
    assert learned(SENTENCES, tokenizer="words", min_count=100)["words"] == [
        "house",
        "of",
        "the",
        "door",
        "roof",
        "window",
    ]


def test_what_was_altered_is_refused() -> None:
    plain = learned(SENTENCES)
    with pytest.raises(ArtifactError, match="altered"):
        tokenizer_from({**plain, "model": plain["model"][:40]})
    with pytest.raises(ArtifactError, match="altered"):
        tokenizer_from({"kind": "words"})
    np.testing.assert_array_equal(
        tokenizer_from(plain)(tf.constant(["the door"])).to_tensor(),
        tokenizer_from(dict(plain))(tf.constant(["the door"])).to_tensor(),
    )
