"""Several augmentations together: what a user may write, order, seeds, counts, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf

from tfft.augment.base import ArrayBatch, AugmentationContext, Modality, TextBatch, TokenBatch, Transform, augmentations
from tfft.augment.compose import Augmenter, parse
from tfft.augment.keyboard_typos import KeyboardTypos
from tfft.augment.paraphrase import Paraphrase
from tfft.augment.random_deletion import RandomDeletion
from tfft.augment.random_swap import RandomSwap
from tfft.core.errors import ConfigError

TEXTS = [f"row {row} has the words a b c d e f" for row in range(64)]
SEED = tf.constant([3, 4])
MOVES = {"random_swap": 0.5, "random_deletion": 0.25, "keyboard_typos": {"probability": 0.5, "rate": 0.1}}


def shout(texts: list[str]) -> list[str]:
    return [text.upper() for text in texts]


@pytest.fixture
def context(plain_context: AugmentationContext) -> AugmentationContext:
    return dataclasses.replace(plain_context, texts=TEXTS, memo={})


def augmented(augmenter: Augmenter, texts: Sequence[str] = TEXTS, seed: tf.Tensor = SEED) -> list[str]:
    rows = tf.constant([text.encode() for text in texts])
    after, tags = augmenter.text(rows, None, tf.range(len(texts), dtype=tf.int64), seed)
    assert tags is None
    return [text.decode() for text in after.numpy()]


# What a user may write


def test_a_number_is_the_probability_and_options_are_options() -> None:
    assert parse(MOVES) == (
        RandomSwap(probability=0.5),
        RandomDeletion(probability=0.25),
        KeyboardTypos(probability=0.5, rate=0.1),
    )
    assert parse({"random_swap": 1}) == (RandomSwap(probability=1.0),)
    assert parse({"random_swap": {}}) == (RandomSwap(),)
    assert parse({}) == parse([]) == ()


def test_augmentations_that_were_made_by_hand_are_taken_in_order() -> None:
    made = [RandomDeletion(rate=0.5), RandomSwap(), RandomDeletion()]
    assert parse(made) == tuple(made)


@pytest.mark.parametrize(
    ("specification", "messages"),
    [
        ({"random_swop": 0.3}, [r"Unknown augmentation 'random_swop'. Did you mean 'random_swap'"]),
        ({"compose": 0.3}, [r"Unknown augmentation 'compose'"]),
        ({"random_swap": {"rait": 0.1}}, [r"Unknown option of random_swap 'rait'. Did you mean 'rate'"]),
        ({"random_swap": {"rate": "0.1"}}, [r"option rate of random_swap should be a valid number; received '0.1'"]),
        ({"random_swap": {"rate": 0.0}}, [r"option rate of random_swap should be greater than 0; received 0.0"]),
        ({"random_swap": 0}, [r"option probability of random_swap should be greater than 0"]),
        ({"random_swap": 1.5}, [r"probability of random_swap should be less than or equal to 1; received 1.5"]),
        ({"random_swap": float("nan")}, [r"probability of random_swap should be"]),
        ({"random_swap": True}, [r"random_swap should be a probability, or a mapping of options; received True"]),
        ({"random_swap": None}, [r"received None"]),
        (
            {"keyboard_typos": {"layout": "dvorak"}},
            [r"option layout of keyboard_typos should be 'qwerty', 'qwertz' or"],
        ),
        ({"keyboard_typos": {"slips": []}}, [r"option slips of keyboard_typos should"]),
        ({"synonym_replacement": {"thesaurus": {"a": 3}}}, [r"option thesaurus of synonym_replacement should be"]),
        ({"back_translation": {"translator": "runs/en-de"}}, [r"translates one way"]),
        ({"random_swop": 1, "random_swap": {"rate": 2, "rat": 1}}, [r"'random_swop'", r"option rate", r"'rat'"]),
        ("random_swap", [r"augment should map names .* received 'random_swap'"]),
        ([RandomSwap(rate=2.0)], [r"option rate of random_swap should be less than or equal to 1"]),
        ([RandomSwap(), "random_swap"], [r"augment should hold augmentations, .* received 'random_swap'"]),
        ([RandomSwap], [r"augment should hold augmentations"]),
        ([RandomSwap(), Paraphrase(function=shout)], [r"paraphrase replaces rows .* put it before random_swap"]),
    ],
)
def test_every_mistake_is_said_at_once(specification: Any, messages: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(specification)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(messages)
    for message in messages:
        caught.match(message)


def test_a_path_is_as_good_as_a_string(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text('{"row": ["line"]}')
    (made,) = parse({"synonym_replacement": {"thesaurus": tmp_path / "words.json"}})
    assert made == augmentations.get("synonym_replacement")(thesaurus=tmp_path / "words.json")


def test_rows_that_are_replaced_may_come_one_after_the_other() -> None:
    assert len(parse([Paraphrase(function=shout), Paraphrase(function=str.split), RandomSwap()])) == 3


# Together


def test_each_works_on_what_the_one_before_it_made(context: AugmentationContext) -> None:
    first, second = Paraphrase(probability=1.0, function=shout), RandomSwap(probability=1.0)
    after = augmented(Augmenter([first, second], context, 0))
    for old, new in zip(TEXTS, after, strict=True):
        assert sorted(new.split()) == sorted(old.upper().split())
        assert new != old.upper()


def test_another_augmentation_does_not_change_the_draws_of_the_first(context: AugmentationContext) -> None:
    alone = augmented(Augmenter(parse({"random_swap": 0.5}), context, 0))
    both = augmented(Augmenter(parse({"random_swap": 0.5, "random_deletion": 0.5}), context, 0))
    untouched = [one == other for one, other in zip(alone, both, strict=True)]
    assert 10 < sum(untouched) < 54


def test_two_of_a_kind_draw_each_for_itself(context: AugmentationContext) -> None:
    twice = Augmenter(
        [RandomDeletion(probability=0.5, rate=0.01), RandomDeletion(probability=0.5, rate=0.01)], context, 0
    )
    lost = [
        len(old.split()) - len(new.split()) for old, new in zip(TEXTS * 40, augmented(twice, TEXTS * 40), strict=True)
    ]
    np.testing.assert_allclose(np.bincount(lost) / len(lost), [0.25, 0.5, 0.25], atol=0.05)
    assert list(twice.fired()) == ["random_deletion", "random_deletion (2)"]


def test_rows_that_are_not_changed_are_the_same_to_the_byte(context: AugmentationContext) -> None:
    texts = [f" \t{text}\x00\u2028 我 \u0301" for text in TEXTS]
    after = augmented(Augmenter(parse({"random_swap": 0.2}), context, 0), texts)
    same = sum(old == new for old, new in zip(texts, after, strict=True))
    assert 30 < same < 64


def test_a_row_that_is_not_utf8_harms_no_other(context: AugmentationContext) -> None:
    rows = tf.constant([text.encode() if row % 2 else b"bro\xffken \xc3 bytes \xff" for row, text in enumerate(TEXTS)])
    augmenter = Augmenter(parse({"random_swap": 1e-9}), context, 0)
    places = tf.range(len(TEXTS), dtype=tf.int64)
    assert augmenter.text(rows, None, places, SEED)[0].numpy().tolist() == rows.numpy().tolist()
    after = Augmenter(parse({"random_swap": 1.0}), context, 0).text(rows, None, places, SEED)[0].numpy()
    for old, new in list(zip(TEXTS, after, strict=True))[1::2]:
        assert sorted(new.decode().split()) == sorted(old.split())


def test_seeds_decide(context: AugmentationContext) -> None:
    augmenter = Augmenter(parse(MOVES), context, 0)
    assert augmented(augmenter) == augmented(augmenter) == augmented(Augmenter(parse(MOVES), context, 99))
    assert augmented(augmenter) != augmented(augmenter, seed=tf.constant([3, 5]))


def test_without_text_augmentations_texts_pass_untouched(context: AugmentationContext) -> None:
    augmenter = Augmenter(parse({"token_cutoff": 0.5}), context, 0)
    assert (augmenter.changes_texts, augmenter.changes_tokens) == (False, True)
    rows, tags = tf.constant([b"\xff not UTF-8"]), tf.ragged.constant([[1]])
    assert augmenter.text(rows, tags, tf.constant([0]), SEED)[0] is rows
    ids = tf.ragged.constant([[1, 2]])
    assert Augmenter(parse({"random_swap": 0.5}), context, 0).tokens(ids, tf.constant([0]), SEED) is ids


def test_words_with_tags_come_back_as_words_with_tags(context: AugmentationContext) -> None:
    tagged = dataclasses.replace(context, tagged=True, outside_tag=0)
    words = tf.ragged.constant([["a b", "c", "d"]] * 30, tf.string, ragged_rank=1)
    tags = tf.ragged.constant([[1, 0, 0]] * 30, tf.int64, ragged_rank=1)
    augmenter = Augmenter(parse({"random_deletion": 1.0}), tagged, 0)
    after, after_tags = augmenter.text(words, tags, tf.range(30, dtype=tf.int64), SEED)
    assert {tuple(row) for row in after.to_list()} == {(b"a b", b"c"), (b"a b", b"d")}
    assert after_tags.to_list() == [[1, 0]] * 30


# In tf.data


def test_the_pipeline_gives_what_the_call_gives_and_counts_each_row_once(context: AugmentationContext) -> None:
    augmenter = Augmenter(parse({**MOVES, "token_cutoff": 0.5}), context, 0)
    texts = tf.constant([text.encode() for text in TEXTS])

    def batch(rows: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        seed = tf.stack([tf.cast(rows[0], tf.int32), 1])
        ids = tf.RaggedTensor.from_tensor(tf.tile(tf.range(9)[tf.newaxis], [tf.size(rows), 1]))
        return augmenter.text(tf.gather(texts, rows), None, rows, seed)[0], augmenter.tokens(ids, rows, seed)

    dataset = tf.data.Dataset.range(64).batch(16).map(batch, num_parallel_calls=2, deterministic=True).prefetch(1)
    got = [text.decode() for part, _ in dataset for text in part.numpy()]
    fired = augmenter.fired()
    called: list[str] = []
    for start in range(0, 64, 16):
        rows = tf.range(start, start + 16, dtype=tf.int64)
        called += [text.decode() for text in batch(rows)[0].numpy()]
    assert got == called
    assert list(fired) == ["random_swap", "random_deletion", "keyboard_typos", "token_cutoff"]
    assert all(seen == 64 and 0 < changed < 64 for changed, seen in fired.values())
    again = augmenter.fired()
    assert {name: (2 * changed, 2 * seen) for name, (changed, seen) in fired.items()} == again


def test_counts_are_those_of_the_rows_that_differ(context: AugmentationContext) -> None:
    augmenter = Augmenter(parse({"random_swap": 0.4}), context, 0)
    texts = ["same same", "other words", "one", ""] * 100
    after = augmented(augmenter, texts)
    differing = sum(old != new for old, new in zip(texts, after, strict=True))
    assert augmenter.fired() == {"random_swap": (differing, 400)}
    assert abs(differing - 40) < 5 * np.sqrt(100 * 0.4 * 0.6)


def test_images_are_told_from_sound_by_their_dimensions(context: AugmentationContext) -> None:
    @dataclasses.dataclass(frozen=True)
    class Negative:
        """Turns arrays of a modality round."""

        modality: ClassVar[Modality] = "image"
        keeps_tags: ClassVar[bool] = True
        probability: float = 1.0

        def prepare(self, context: AugmentationContext) -> Transform:
            """Returns the function."""
            return lambda batch, seed: (
                batch._replace(values=-batch.values),
                tf.ones(tf.shape(batch.values)[0], tf.bool),
            )

    @dataclasses.dataclass(frozen=True)
    class Silence(Negative):
        """The same for sound."""

        modality: ClassVar[Modality] = "audio"

    augmenter = Augmenter(parse([Negative(), Silence()]), context, 0)
    image, sound = tf.ones([3, 2, 2, 1]), tf.ones([5, 8])
    assert (augmenter.arrays(ArrayBatch(image, None, None), SEED).values.numpy() == -1).all()
    assert augmenter.fired() == {"Negative": (3, 3), "Silence": (0, 0)}
    assert (augmenter.arrays(ArrayBatch(sound, None, None), SEED).values.numpy() == -1).all()
    assert augmenter.fired() == {"Negative": (3, 3), "Silence": (5, 5)}
    frames = ArrayBatch(tf.ones([5, 8, 2]), None, None)
    assert augmenter.arrays(frames, SEED) is frames
    with pytest.raises(ConfigError, match="received the shape"):
        augmenter.arrays(ArrayBatch(tf.ones([5]), None, None), SEED)


# What is refused before training


def test_what_cannot_keep_tags_is_refused_by_name(context: AugmentationContext) -> None:
    tagged = dataclasses.replace(context, tagged=True, outside_tag=0)
    found = parse({"paraphrase": {"function": shout}, "token_cutoff": 0.2, "random_swap": 0.2})
    with pytest.raises(ConfigError) as caught:
        Augmenter(found, tagged, 0)
    lines = str(caught.value).splitlines()
    assert [line.split(" cannot keep the tag of each word")[0] for line in lines] == ["paraphrase", "token_cutoff"]


def test_what_the_task_has_not_is_refused(context: AugmentationContext) -> None:
    with pytest.raises(ConfigError, match="random_flip changes image; this task has text and tokens"):
        Augmenter(parse({"random_flip": 0.5}), context, 0, modalities=("text", "tokens"))


def test_everything_that_cannot_be_prepared_is_said(context: AugmentationContext) -> None:
    with pytest.raises(ConfigError) as caught:
        Augmenter(parse({"synonym_replacement": 0.1, "span_masking": 0.1}), context, 0)
    assert len(str(caught.value).splitlines()) == 2


def split_ids(texts: tf.Tensor) -> tf.RaggedTensor:
    return tf.strings.unicode_decode(texts, "UTF-8")


@pytest.mark.parametrize("probability", [1e-9, 1.0])
def test_whether_one_can_fire_does_not_depend_on_its_probability(
    probability: float, context: AugmentationContext
) -> None:
    calls: list[int] = []

    def count(texts: list[str]) -> list[str]:
        calls.append(len(texts))
        return shout(texts)

    with_tokens = dataclasses.replace(
        context, tokenize=split_ids, special_ids=frozenset({1, 2}), start_ids=(1,), end_ids=(2,)
    )
    specification = {"paraphrase": {"probability": probability, "function": count}, "random_swap": probability}
    augmenter = Augmenter(parse({**specification, "token_cutoff": probability}), with_tokens, 0)
    augmenter.check_can_fire()
    assert calls == [64], "the texts were paraphrased more than once"
    assert all(counts == (0, 0) for counts in augmenter.fired().values()), "the check is no training"


def test_those_that_never_can_are_named_with_the_reason(context: AugmentationContext) -> None:
    texts = [f"{row}" for row in range(600)]
    lonely = dataclasses.replace(context, texts=texts, tokenize=lambda rows: split_ids(tf.strings.substr(rows, 0, 1)))
    names = {"random_deletion": 0.5, "random_insertion": 0.5, "keyboard_typos": 0.5, "token_cutoff": 0.5}
    with pytest.raises(ConfigError) as caught:
        Augmenter(parse(names), lonely, 0).check_can_fire()
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("random_deletion can change none of the 600 training rows: each has a single word")
    assert lines[1].startswith("keyboard_typos can change none of the 600 training rows: no word of them has a letter")
    assert lines[2].startswith("token_cutoff can change none of the 600 training rows: each has a single token")


def test_a_single_row_at_the_end_is_enough(context: AugmentationContext) -> None:
    texts = ["one"] * 1000 + ["two words"]
    Augmenter(parse({"random_swap": 0.1}), dataclasses.replace(context, texts=texts), 0).check_can_fire()


def test_tagged_rows_of_the_context_are_tried_with_their_tags(context: AugmentationContext) -> None:
    words, tags = [["ann", "lee"], ["bob"]], [[1, 2], [1]]
    fields = {"texts": ["ann lee", "bob"], "words": words, "tags": tags, "tagged": True, "outside_tag": 0}
    with pytest.raises(ConfigError, match="random_swap can change none of the 2 training rows: none has two different"):
        Augmenter(parse({"random_swap": 0.5}), dataclasses.replace(context, **fields), 0).check_can_fire()
    fields["tags"] = [[0, 0], [1]]
    Augmenter(parse({"random_swap": 0.5}), dataclasses.replace(context, **fields), 0).check_can_fire()


def test_batches_can_be_given(context: AugmentationContext) -> None:
    nothing = dataclasses.replace(context, texts=())
    augmenter = Augmenter(parse({"random_swap": 0.5, "token_cutoff": 0.5}), nothing, 0)
    with pytest.raises(ConfigError, match="tokens are tried on training batches"):
        augmenter.check_can_fire()
    words = tf.ragged.constant([["a", "b"]], tf.string, ragged_rank=1)
    text = TextBatch(tf.constant([""]), words, tf.ragged.constant([[" ", ""]]), None, tf.constant([0], tf.int64))
    tokens = TokenBatch(tf.ragged.constant([[7, 8]]), tf.constant([0], tf.int64))
    augmenter.check_can_fire({"text": [text], "tokens": iter([tokens])})


def test_a_users_own_augmentation_needs_no_registration(context: AugmentationContext) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Exclaim:
        """Puts a word at the end."""

        modality: ClassVar[Modality] = "text"
        keeps_tags: ClassVar[bool] = False
        probability: float = 1.0

        def prepare(self, context: AugmentationContext) -> Transform:
            """Returns the function."""

            def transform(batch: TextBatch, seed: tf.Tensor) -> tuple[TextBatch, tf.Tensor]:
                words = batch.words.with_flat_values(tf.strings.join([batch.words.flat_values, "!"]))
                return batch._replace(words=words), batch.words.row_lengths() > 0

            return transform

    augmenter = Augmenter(parse([Exclaim()]), context, 0)
    augmenter.check_can_fire()
    assert augmented(augmenter, ["a b", ""]) == ["a! b!", ""]
    assert augmenter.fired() == {"Exclaim": (1, 2)}
