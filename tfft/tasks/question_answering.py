"""Extractive question answering: where in a context the answer to a question stands, or that it has none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import DataError
from tfft.core.learned import Learned
from tfft.data.question_rows import ANSWERS, QUESTIONS, QuestionColumns, TrueAnswers, question_examples
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.metrics.question_answering import (
    QuestionAnsweringMetrics,
    SquadVersion,
    answer_scores,
    best_no_answer_threshold,
    question_answering_metrics,
)
from tfft.tasks.base import RowTargets, Targets, Task, register_task, unlabelled

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.backbones.base import TextBackbone
    from tfft.encoding.base import EncodedRows
    from tfft.encoding.questions import QuestionEncoding, WindowPlaces

#: What `predict` takes.
_ALLOWED = 'Write predict([("a question", "its context")]), or {"question": ..., "context": ...} for each pair.'
#: Above it, no answer is the better one; taken until validation data gives a better threshold.
_EVEN = 0.5


@dataclasses.dataclass(frozen=True)
class PredictedAnswer:
    """What the model answers to one question.

    Attributes:
        text: The answer, a part of the context; "" when there is none.
        start: Place of its first character in the context, from 0; 0 when there is none.
        end: Place after its last character; 0 when there is none.
        probability: Probability of just this answer, or of none, among all parts of the context and none.
        no_answer_score: How much speaks against any answer, from 0 to 1: 0.5 when the best answer and none are as
            likely. Above the run's threshold there is none.
    """

    text: str
    start: int
    end: int
    probability: float
    no_answer_score: float


class QuestionAnswering(Task):
    """Answers that are parts of a context, as in SQuAD 1.1, and questions that have none, as in SQuAD 2.0."""

    uses = frozenset(
        {
            "question_column", "context_column", "answers_column", "answer_start_column", "max_answer_tokens",
            "window_overlap",
        }
    )  # fmt: skip
    figures = ("loss", "exact_match", "f1")

    def head(self, config: FitConfig) -> str:
        """Returns the head that points at tokens."""
        return "answer_span"

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str] | None:
        """Returns the columns of questions and contexts, and of answers where they are wanted."""
        return _columns(config, labelled=labelled).names

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads a source; the texts of the examples are the contexts, so that no context is in two splits."""
        columns = _columns(config, labelled=labelled)
        return question_examples(reader, columns, labelled=labelled, how=how, console=console)

    def takes(self, data: Any) -> bool:
        """Tells a list of questions with contexts from a list of rows with names."""
        return isinstance(data, (list, tuple)) and bool(data) and isinstance(data[0], (list, tuple))

    def from_inputs(self, inputs: Any) -> TextExamples:
        """Takes pairs of a question and its context, or dicts with the two.

        Args:
            inputs: What the caller gave.

        Returns:
            Examples without answers.

        Raises:
            DataError: When it is something else.
        """
        if isinstance(inputs, (str, bytes, Mapping)) or not hasattr(inputs, "__iter__"):
            kind = type(inputs).__name__
            raise DataError(f"A list of questions with their contexts is expected; received a {kind}. {_ALLOWED}")
        pairs = [_pair(item, place) for place, item in enumerate(inputs)]
        return unlabelled([context for _, context in pairs], {QUESTIONS: [question for question, _ in pairs]})

    def inputs(self, examples: TextExamples) -> list[list[str]]:
        """Returns pairs of a question and its context."""
        return [list(pair) for pair in zip(examples.columns[QUESTIONS], examples.texts, strict=True)]

    def serving_inputs(self, inputs: Sequence[Any]) -> dict[str, list[str]]:
        """Returns the questions and the contexts."""
        return {"question": [question for question, _ in inputs], "context": [context for _, context in inputs]}

    def unpleasant(self, texts: Sequence[str]) -> list[Any]:
        """Returns each text as a question, and as a context."""
        return [*([text, "a b c"] for text in texts), *(["what?", text] for text in texts)]

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Finds out whether there are questions without an answer."""
        without = sum(not row for row in examples.columns[ANSWERS])
        if without == len(examples):
            raise DataError(
                f"{examples.where}: no question of the training split has an answer. Is {config.answers_column!r} the "
                "right answers_column?"
            )
        console.say(f"{without:,} of {len(examples):,} training questions have no answer")
        settings = {"max_answer_tokens": config.max_answer_tokens, "no_answer_threshold": _EVEN if without else None}
        return Learned(["start", "end"], settings)

    def targets(self, examples: TextExamples, learned: Learned) -> TrueAnswers:
        """Returns the texts of the true answers of each question."""
        return TrueAnswers([[answer["text"] for answer in row] for row in examples.columns[ANSWERS]])

    def row_targets(self, targets: Targets, rows: EncodedRows, learned: Learned) -> RowTargets:
        """Returns the positions of the first and the last token of the first true answer in each window."""
        positions: np.ndarray = rows.context.positions
        return positions

    def encoding(
        self, backbone: TextBackbone, config: FitConfig, learned: Learned, sequence_length: int | None
    ) -> QuestionEncoding:
        """Returns the encoding of questions and contexts in windows."""
        from tfft.encoding.questions import QuestionEncoding

        return QuestionEncoding(backbone, sequence_length=sequence_length, overlap=config.window_overlap)

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns the cross-entropy of both ends of an answer."""
        from tfft.losses.answer_span import AnswerSpanLoss

        return AnswerSpanLoss()

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> QuestionAnsweringMetrics:
        """Counts as the scripts of SQuAD do, over a whole split; the loss is the mean over windows."""
        texts, scores = _without_threshold(outputs, learned)
        threshold = learned.settings["no_answer_threshold"]
        return question_answering_metrics(
            texts,
            targets.texts,
            no_answer_scores=None if threshold is None else scores.tolist(),
            no_answer_threshold=threshold,
            squad_version=_version(targets, learned),
            loss=_mean_loss(outputs.rows.values, outputs.context),
        )

    def tuned(self, outputs: Any, targets: Any, learned: Learned, console: Console) -> Learned:
        """Chooses the threshold for no answer that gives the best F1 on the validation split.

        Args:
            outputs: Outputs of the validation split; None when there is none.
            targets: Its true answers.
            learned: What was learned before.
            console: Where the threshold is said.

        Returns:
            The same with the threshold, where some training and some validation questions have no answer.
        """
        before = learned.settings["no_answer_threshold"]
        if before is None:
            return learned
        has_answer = np.array([] if outputs is None else [bool(row) for row in targets.texts], dtype=bool)
        if has_answer.all():
            console.say(f"no_answer_threshold: {before:.3g}, as no validation question lacks an answer to tune it on")
            return learned
        texts, scores = _without_threshold(outputs, learned)
        f1 = [answer_scores(text, golds)[1] for text, golds in zip(texts, targets.texts, strict=True)]
        best = best_no_answer_threshold(f1, scores, has_answer).threshold
        # Between two scores, so that rounding turns no answer into none.
        below, above = scores[scores <= best], scores[scores > best]
        threshold = (float(below.max(initial=0.0)) + float(above.min(initial=1.0))) / 2
        console.say(f"no_answer_threshold: {threshold:.3g}, tuned on {len(has_answer):,} validation questions")
        return dataclasses.replace(learned, settings={**learned.settings, "no_answer_threshold": threshold})

    def restore_metrics(self, plain: Mapping[str, Any]) -> QuestionAnsweringMetrics:
        """Returns the figures kept in a run directory."""
        return QuestionAnsweringMetrics(**plain)

    def baselines(
        self,
        train: tuple[TextExamples, Any],
        test: tuple[TextExamples, Any],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, QuestionAnsweringMetrics]:
        """Returns the figures of a fixed answer, and of names and numbers in the sentence nearest to the question."""
        from tfft.metrics.question_answering_baselines import question_answering_baselines

        examples, targets = test
        return question_answering_baselines(
            train[0].texts,
            examples.columns[QUESTIONS],
            examples.texts,
            targets.texts,
            squad_version=_version(targets, learned),
        )

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[PredictedAnswer]:
        """Turns scores of tokens into answers."""
        from tfft.tasks._best_answers import decoded_answers, threshold_of

        places: WindowPlaces = rows.context
        found = decoded_answers(outputs, places, learned, threshold_of(learned))
        return [
            PredictedAnswer(context[start:end], start, end, probability, score)
            for context, start, end, probability, score in zip(
                places.contexts, *(values.tolist() for values in found), strict=True
            )
        ]

    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns the answer of each row.

        `answer`, string, `start` and `end`, int32, `probability` and `no_answer_score`, float32, each of shape
        `(batch,)`, as `PredictedAnswer` has them.
        """
        from tfft.tasks._best_answers import served_answers

        return served_answers(outputs, context, learned)

    def served_outputs(self, predictions: Sequence[PredictedAnswer], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the tensors of `serve` for predictions of `decode`."""
        return {
            "answer": np.array([item.text for item in predictions], dtype=object),
            "start": np.array([item.start for item in predictions], np.int32),
            "end": np.array([item.end for item in predictions], np.int32),
            "probability": np.array([item.probability for item in predictions], np.float32),
            "no_answer_score": np.array([item.no_answer_score for item in predictions], np.float32),
        }

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 questions of how two things of a film were, 12 of them of a third thing, which have no answer."""
        opinions = ("wonderful", "moving", "funny", "brilliant", "charming", "dull", "awful", "boring", "weak", "silly")
        things = ("film", "plot", "cast", "music", "ending", "script")
        rows: list[tuple[str, str, list[dict[str, Any]]]] = []
        for number in range(60):
            first, second, third = (things[(number + step) % len(things)] for step in (0, 1, 3))
            one, other = (opinions[place % len(opinions)] for place in (number, 3 * number + number // 10 + 1))
            context = f"the {first} was {one} the {second} was {other}"
            asked, answer = ((first, one), (second, other), (third, ""))[(0, 1, 0, 1, 2)[number % 5]]
            start = context.find(f"{asked} was {answer}") + len(f"{asked} was ")
            rows.append((f"the {asked} was", context, [{"text": answer, "answer_start": start}] if answer else []))
        return pd.DataFrame(rows, columns=["question", "context", "answers"])


def _pair(item: Any, place: int) -> tuple[str, str]:
    if isinstance(item, Mapping):
        item = [item.get(name) for name in ("question", "context")]
    match item:
        case (str() as question, str() as context):
            return question, context
    received = f"one {type(item).__name__}" if isinstance(item, (str, bytes)) else repr(item)[:60]
    raise DataError(
        f"Each item is a question and its context, two texts; at position {place} there is {received}. {_ALLOWED}"
    )


def _columns(config: FitConfig, *, labelled: bool) -> QuestionColumns:
    answers = (config.answers_column, config.answer_start_column) if labelled else (None, None)
    return QuestionColumns(config.question_column, config.context_column, *answers)


def _version(targets: TrueAnswers, learned: Learned) -> SquadVersion:
    return "1.1" if learned.settings["no_answer_threshold"] is None and all(targets.texts) else "2.0"


def _without_threshold(outputs: Any, learned: Learned) -> tuple[list[str], np.ndarray]:
    """Returns the best answer of each question even where none is better, and the scores of none."""
    from tfft.tasks._best_answers import ALWAYS_ANSWER, decoded_answers

    places: WindowPlaces = outputs.context
    found = decoded_answers(outputs, places, learned, ALWAYS_ANSWER)
    ends = zip(places.contexts, found.starts.tolist(), found.ends.tolist(), strict=True)
    scores: np.ndarray = found.no_answer_scores.astype(np.float64)
    return [context[start:end] for context, start, end in ends], scores


def _mean_loss(logits: np.ndarray, places: WindowPlaces) -> float | None:
    """Returns the mean of `AnswerSpanLoss` over all windows."""
    if places.positions is None or not len(places.positions):
        return None
    begins = places.splits[:-1]
    largest = np.maximum.reduceat(logits, begins)
    lengths = np.diff(places.splits)
    shifted = np.exp((logits - np.repeat(largest, lengths, axis=0)).astype(np.float64))
    log_totals = np.log(np.add.reduceat(shifted, begins)) + largest
    true = logits[begins[:, np.newaxis] + places.positions, [[0, 1]]]
    return float((log_totals - true).mean())


register_task("question_answering")(QuestionAnswering())
