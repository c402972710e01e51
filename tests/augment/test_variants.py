"""Paraphrases and back-translations: computed once from the training texts, drawn in the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.augment.back_translation import BackTranslation
from tfft.augment.base import AugmentationContext
from tfft.augment.paraphrase import Paraphrase
from tfft.core.errors import ConfigError, DataError

TEXTS = ["a film", "The Plot", "", "  ", "我爱你 yes", "a film"]


def shout(texts: list[str]) -> list[str]:
    return [text.upper() for text in texts]


class Counting:
    """Gives another answer at each call, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[str]:
        self.asked.append(list(texts))
        return [f"{text}#{len(self.asked)}" for text in texts]


def test_texts_become_what_the_function_makes_of_them(runner: Callable[..., Any]) -> None:
    after, changed = runner("paraphrase", {"texts": TEXTS}, function=shout).texts(TEXTS)
    assert after == ["A FILM", "THE PLOT", "", "  ", "我爱你 YES", "A FILM"]
    assert changed.tolist() == [True, True, False, False, True, True]


@settings(max_examples=6, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_answer_arrives_to_the_byte_and_a_blank_one_never_empties_a_row(
    texts: list[str], runner: Callable[..., Any]
) -> None:
    answers = [*texts, "at least this one"]
    rows = [f"row {row}" for row in range(len(answers))]
    after, changed = runner("paraphrase", {"texts": rows}, function=lambda _: answers).texts(rows)
    assert after == [answer if answer.strip() else row for row, answer in zip(rows, answers, strict=True)]
    assert changed.tolist() == [bool(answer.strip()) for answer in answers]


def test_the_function_is_asked_once_in_batches_and_never_for_blank_texts(runner: Callable[..., Any]) -> None:
    function = Counting()
    paraphrase = runner("paraphrase", {"texts": TEXTS}, compiled=True, function=function, variants=2, batch_size=3)
    assert function.asked == [["a film", "The Plot", "我爱你 yes"], ["a film"]] * 2
    drawn = [paraphrase.texts(TEXTS, seed)[0][1] for seed in range(200)]
    counts = np.unique(drawn, return_counts=True)
    assert counts[0].tolist() == ["The Plot#1", "The Plot#3"]
    assert abs(counts[1] - 100).max() < 5 * np.sqrt(50)


def test_preparing_again_does_not_compute_again(plain_context: AugmentationContext) -> None:
    function = Counting()
    context = dataclasses.replace(plain_context, texts=TEXTS, memo={})
    for probability in (0.3, 1.0):
        Paraphrase(probability=probability, function=function).prepare(context)
    assert len(function.asked) == 1
    Paraphrase(function=function, variants=3).prepare(context)
    assert len(function.asked) == 4


def test_a_row_that_is_not_the_original_any_more_is_left_alone(runner: Callable[..., Any]) -> None:
    after, changed = runner("paraphrase", {"texts": ["a film", "a plot"]}, function=shout).texts(["a movie", "a plot"])
    assert after == ["a movie", "A PLOT"]
    assert changed.tolist() == [False, True]


def there(texts: list[str]) -> list[str]:
    return [f"<{text}>" for text in texts]


@dataclasses.dataclass
class Prediction:
    """As a translation model gives it."""

    text: str


class Model:
    """Something with `predict`."""

    def predict(self, texts: list[str]) -> list[Prediction]:
        """Turns texts round."""
        return [Prediction(text[::-1]) for text in texts]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"translator": shout}, "A FILM"),
        ({"translator": there, "backward": shout}, "<A FILM>"),
        ({"translator": shout, "backward": Model()}, "MLIF A"),
        ({"translator": "runs/en-de", "backward": "runs/de-en"}, "de-en(en-de(a film))"),
        ({"translator": "runs/en-de", "backward": shout}, "EN-DE(A FILM)"),
    ],
    ids=["function", "pair", "model", "paths", "mixed"],
)
def test_translators_may_be_functions_models_and_paths(
    options: dict[str, Any], expected: str, runner: Callable[..., Any]
) -> None:
    def load(path: str) -> Callable[[list[str]], list[str]]:
        return lambda texts: [f"{path.removeprefix('runs/')}({text})" for text in texts]

    context = {"texts": ["a film"], "load_translator": load}
    assert runner("back_translation", context, **options).texts(["a film"])[0] == [expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"translator": 3}, "translator should be a path, a function .* received 3"),
        ({"translator": shout, "backward": ""}, "backward should be a path"),
        ({"translator": "runs/en-de"}, "'runs/en-de' translates one way; name the run that translates back"),
    ],
)
def test_what_cannot_translate_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BackTranslation(**options)


def test_what_is_missing_is_said(runner: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="needs the option translator"):
        runner("back_translation", {"texts": TEXTS})
    with pytest.raises(ConfigError, match="cannot load 'a' here"):
        runner("back_translation", {"texts": TEXTS}, translator="a", backward="b")
    with pytest.raises(ConfigError, match="needs the option function"):
        runner("paraphrase", {"texts": TEXTS})
    with pytest.raises(ConfigError, match="these are not at hand"):
        runner("paraphrase", function=shout)


def fails(texts: list[str]) -> list[str]:
    raise ZeroDivisionError("no rows")


def refuses(texts: list[str]) -> list[str]:
    raise DataError("a message of tfft")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda texts: texts[:-1], ConfigError, "should return a list of 4 texts; it returned 3"),
        (lambda texts: None, ConfigError, "should return a list of 4 texts; it returned None"),
        (lambda texts: [1] * len(texts), ConfigError, "should return strings; it returned 1"),
        (lambda texts: texts, ConfigError, "for each of the 6 training texts, the function returned the text as"),
        (fails, ConfigError, "failed on a list of 4 texts: ZeroDivisionError: no rows"),
        (refuses, DataError, "a message of tfft"),
    ],
)
def test_a_function_that_does_not_do_its_work_is_named(
    function: Any, error: type[Exception], message: str, runner: Callable[..., Any]
) -> None:
    with pytest.raises(error, match=message):
        runner("paraphrase", {"texts": TEXTS}, function=function)


def test_a_model_that_predicts_no_texts_is_refused(runner: Callable[..., Any]) -> None:
    class Classifier:
        """Predicts labels."""

        def predict(self, texts: list[str]) -> list[int]:
            """Returns numbers."""
            return [1 for _ in texts]

    with pytest.raises(ConfigError, match=r"predict should return texts, .* it returned 1"):
        runner("back_translation", {"texts": TEXTS}, translator=Classifier())
