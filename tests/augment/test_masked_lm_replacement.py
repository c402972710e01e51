"""Words that a masked language model puts in, with a model whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "film",
    "plot",
    "dull",
    "fine",
    "was",
    "##s",
    "!",
    "7",
    "我",
    "爱",
]
WORD = {token: place for place, token in enumerate(VOCABULARY)}
START, END, MASK = WORD["[CLS]"], WORD["[SEP]"], WORD["[MASK]"]
#: The model's liking for each token, wherever the mask is: tokens that are no words would come first.
LIKING = {"[SEP]": 9.0, "##s": 8.0, "!": 7.5, "7": 7.2, "film": 5.0, "plot": 4.5, "dull": 4.0, "fine": 1.0, "was": 0.5}


def tokenize(texts: tf.Tensor) -> tf.RaggedTensor:
    """WordPiece in plain Python: words, their ending -s, punctuation and digits."""
    rows = []
    for text in texts.numpy():
        ids: list[int] = []
        for word in text.decode().lower().replace("!", " ! ").replace("(", " ( ").split():
            stem, ending = (word[:-1], ["##s"]) if word not in WORD and word.endswith("s") else (word, [])
            ids += [WORD.get(token, 1) for token in [stem, *ending]]
        rows.append(ids)
    return tf.ragged.constant(rows, tf.int32, ragged_rank=1)


class Model:
    """Likes words as `LIKING` says, and remembers the rows that it saw."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        assert ids.dtype == mask.dtype == np.int32
        self.shapes.add(ids.shape)
        self.rows += [row[:size].tolist() for row, size in zip(ids, mask.sum(1), strict=True)]
        assert not ids[mask == 0].any()
        logits = np.full((*ids.shape, len(VOCABULARY)), -30.0, np.float32)
        for token, liking in LIKING.items():
            logits[..., WORD[token]] = liking
        return logits


def context(texts: Sequence[str], model: Model | None = None, **fields: Any) -> dict[str, Any]:
    chosen = model or Model()
    return {
        "texts": texts,
        "vocabulary": VOCABULARY,
        "special_ids": frozenset(range(5)),
        "mask_id": MASK,
        "masked_lm": lambda: chosen,
        "tokenize": tokenize,
        "start_ids": (START,),
        "end_ids": (END,),
        **fields,
    }


def test_words_become_the_likeliest_other_words(runner: Callable[..., Any]) -> None:
    texts = ["Film, was (DULL) 7 !"] * 300
    replace = runner("masked_lm_replacement", context(texts), candidates=2, rate=0.01, variants=1)
    after, changed = replace.texts(texts)
    assert changed.all()
    # One word each, in its case and punctuation: the two likeliest, the word itself aside.
    assert set(after) == {
        "Plot, was (DULL) 7 !",
        "Dull, was (DULL) 7 !",
        "Film, film (DULL) 7 !",
        "Film, plot (DULL) 7 !",
        "Film, was (FILM) 7 !",
        "Film, was (PLOT) 7 !",
    }


def test_words_are_drawn_by_their_probability(runner: Callable[..., Any]) -> None:
    texts = ["was"] * 4000
    after, _ = runner("masked_lm_replacement", context(texts), candidates=3, variants=1).texts(texts)
    odds = np.exp([LIKING["film"], LIKING["plot"], LIKING["dull"]])
    shares = [after.count(word) / len(texts) for word in ("film", "plot", "dull")]
    np.testing.assert_allclose(shares, odds / odds.sum(), atol=5 * np.sqrt(0.25 / len(texts)))


def test_the_model_sees_the_text_with_masks_between_start_and_end(runner: Callable[..., Any]) -> None:
    model = Model()
    runner("masked_lm_replacement", context(["films! was"], model), rate=0.01, variants=40)
    film, ending, mark, was = (WORD[token] for token in ("film", "##s", "!", "was"))
    assert {tuple(row) for row in model.rows} == {(START, MASK, mark, was, END), (START, film, ending, mark, MASK, END)}
    assert len(model.rows) == 40
    assert len(model.shapes) <= 2


def test_masks_behind_the_longest_row_are_not_asked_for(runner: Callable[..., Any]) -> None:
    model = Model()
    texts = ["film was dull plot fine"] * 20
    replace = runner("masked_lm_replacement", context(texts, model, sequence_length=4), rate=0.01, variants=20)
    assert all(len(row) == 4 and row[0] == START and row[-1] == END and MASK in row for row in model.rows)
    after, _ = replace.texts(texts)
    assert {tuple(text.split()[2:]) for text in after} == {("dull", "plot", "fine")}


def test_the_share_is_the_rate_and_versions_differ(runner: Callable[..., Any]) -> None:
    texts = ["film was dull plot fine film was dull plot fine"] * 400
    replace = runner("masked_lm_replacement", context(texts), compiled=True, rate=0.25, variants=3)
    after, _ = replace.texts(texts)
    counts = [sum(a != b for a, b in zip(text.split(), texts[0].split(), strict=True)) for text in after]
    assert set(counts) == {2, 3}
    assert abs(np.mean(counts) - 2.5) < 5 * 0.5 / np.sqrt(len(counts))
    assert len({replace.texts(texts, seed)[0][0] for seed in range(30)}) > 1


def test_the_same_seed_gives_the_same_versions(runner: Callable[..., Any]) -> None:
    texts = ["film was dull plot fine"] * 50
    one, other = (runner("masked_lm_replacement", context(texts)).texts(texts)[0] for _ in range(2))
    assert one == other
    assert runner("masked_lm_replacement", context(texts, seed=6)).texts(texts)[0] != one


def test_white_space_and_what_is_no_word_stay(runner: Callable[..., Any]) -> None:
    texts = ["  film\n\twas 7 @film #film film_7 ", "7 !", "", "我爱film"]
    replace = runner("masked_lm_replacement", context(texts), rate=1.0, variants=1)
    after, changed = replace.texts(texts)
    first = after[0].split()
    assert first[2:] == ["7", "@film", "#film", "film_7"]
    assert first[0] != "film"
    assert after[0].replace(first[0], "film", 1).replace(first[1], "was", 1) == texts[0]
    assert after[1:3] == texts[1:3]
    assert changed.tolist() == [True, False, False, True]


def test_only_words_outside_every_span_are_replaced(runner: Callable[..., Any]) -> None:
    words, tags = [["film", "was", "dull"], ["plot"], []] * 20, [[1, 0, 2], [1], []] * 20
    fields = {"tagged": True, "outside_tag": 0, "words": words, "tags": tags}
    replace = runner("masked_lm_replacement", context(["-"] * 60, **fields), rate=0.9)
    after, after_tags, changed = replace.tagged(words, tags)
    assert after_tags == tags
    assert changed.tolist() == [True, False, False] * 20
    assert all(row[0] == "film" and row[1] != "was" and row[2] == "dull" for row in after[::3])


def test_a_row_that_is_not_the_original_any_more_is_left_alone(runner: Callable[..., Any]) -> None:
    after, changed = runner("masked_lm_replacement", context(["film", "plot"])).texts(["movie", "plot"])
    assert changed.tolist() == [False, True]
    assert after[0] == "movie"


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"masked_lm": None}, "needs a preset with a masked-language-model head"),
        ({"mask_id": None}, "and a mask token"),
        ({"vocabulary": None}, "needs a tokenizer with a vocabulary"),
        ({"vocabulary": ["[PAD]", "!", "1"]}, "this one has none"),
        ({"texts": ()}, "these are not at hand"),
        ({"texts": ["7", "!"]}, "cannot change a row: no word of them"),
    ],
)
def test_what_cannot_work_is_refused(missing: dict[str, Any], message: str, runner: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=message):
        runner("masked_lm_replacement", {**context(["film"]), **missing})
