"""The contract of a task: everything that differs between text classification and, say, tagging."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.config.pretraining import PRETRAINING_OPTIONS
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, name_list, unknown_name
from tfft.core.learned import Learned
from tfft.core.registry import Registry
from tfft.data.hidden_tokens import HiddenTokens
from tfft.data.joint_rows import JointRows
from tfft.data.origin import Origin
from tfft.data.question_rows import TrueAnswers
from tfft.data.ragged_rows import RaggedRows
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.source_target import References
from tfft.heads.base import HeadPart
from tfft.metrics.base import Metrics

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.backbones.base import TextBackbone
    from tfft.encoding.base import EncodedRows, RowEncoding

#: What the loss compares outputs with: an array whose first axis are rows, or rows of different length.
RowTargets = np.ndarray | RaggedRows | JointRows
#: What the metrics compare outputs with, one for each example.
Targets = RowTargets | TrueAnswers | HiddenTokens | References
#: Options that not every task has; a task names those that it uses.
TASK_OPTIONS = (
    "tasks",
    "label_column", "label_separator", "tokens_column", "tags_column", "spans_column", "tag_scheme", "words",
    "window_overlap", "head", "pooling", "class_weights", "resample", "label_smoothing", "regression_loss",
    "thresholds", "focal_gamma", "r_drop", "packing", "augment", "streaming", "mask_personal_data",
    "first_column", "second_column", "similar_label", "pair_encoder", "pair_loss",
    "anchor_column", "positive_column", "negative_column",
    "source_column", "target_column", "length_filter", "decoder", "decoding",
    "question_column", "context_column", "answers_column", "answer_start_column", "max_answer_tokens",
    "head_start_column", "head_end_column", "tail_start_column", "tail_end_column", "negative_label",
    "sentence_objective",
)  # fmt: skip


#: Outputs of a head where the data is not known.
_FEWEST_LABELS = 2


class Task(abc.ABC):
    """What a task has to say; one file with one decorator adds one.

    A task has no state: what it learned of the training data is passed to it. Its module must not import TensorFlow or
    Keras at the top: bad data is reported before they are loaded.

    What is written here suits tasks whose examples are one text each, and whose model says one thing of each.

    Attributes:
        uses: Options among `TASK_OPTIONS` that the task uses.
        figures: Names of figures that `monitor` may name, behind `val_`.
        joinable: Whether the task can share a backbone with others: it reads one text, and its targets are given.
        tags_words: Whether rows are words, given or cut out of texts.
        hides_tokens: Whether each training batch hides tokens anew, so that no row is the same twice.
    """

    uses: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[tuple[str, ...]] = ("loss",)
    joinable: ClassVar[bool] = False
    tags_words: ClassVar[bool] = False
    hides_tokens: ClassVar[bool] = False

    def uses_of(self, config: FitConfig) -> frozenset[str]:
        """Returns the options among `TASK_OPTIONS` that a run uses.

        Args:
            config: The run's options.

        Returns:
            The names.

        Raises:
            ConfigError: When the run's options do not say what the task is.
        """
        del config
        return self.uses

    def figures_of(self, config: FitConfig) -> tuple[str, ...]:
        """Returns the names of figures that `monitor` may name in a run, behind `val_`."""
        del config
        return self.figures

    def generates(self, config: FitConfig) -> bool:
        """Tells whether the figures of each epoch need texts that the model writes, which take longer."""
        del config
        return False

    def head_parts(self, config: FitConfig, learned: Learned | None) -> tuple[HeadPart, ...]:
        """Returns the heads of the model.

        Args:
            config: The run's options.
            learned: What was learned of the training data; None where it is not known.

        Returns:
            One head without a name, or several with names.
        """
        num_outputs = _FEWEST_LABELS if learned is None else self.num_outputs(learned)
        return (HeadPart("", self.head(config), config, num_outputs),)

    @abc.abstractmethod
    def head(self, config: FitConfig) -> str:
        """Returns the name of the head in the head registry."""

    @abc.abstractmethod
    def columns(self, config: FitConfig, *, labelled: bool) -> list[str] | None:
        """Returns the columns to read; None for all there are."""

    @abc.abstractmethod
    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads a source, checks its rows and takes what the task needs."""

    def takes(self, data: Any) -> bool:
        """Tells that a list is for `from_inputs`, though its items are no strings; else it is a data source."""
        del data
        return False

    def from_inputs(self, inputs: Any) -> TextExamples:
        """Takes what a caller wants predictions for: a list of texts.

        Args:
            inputs: What the caller gave.

        Returns:
            Examples without labels.

        Raises:
            DataError: When it is something else.
        """
        if isinstance(inputs, (str, bytes)):
            raise DataError(
                "A list of texts is expected; received one string, which is no file. Write predict([text])."
            )
        found = _listed(inputs, "texts")
        wrong = [place for place, text in enumerate(found) if not isinstance(text, str)]
        if wrong:
            kind = type(found[wrong[0]]).__name__
            raise DataError(f"Texts are strings; the item at position {wrong[0]} is a {kind} ({len(wrong)} in all).")
        return unlabelled(found)

    def inputs(self, examples: TextExamples) -> list[Any]:
        """Returns examples as `from_inputs` takes them, as plain data."""
        return list(examples.texts)

    def serving_inputs(self, inputs: Sequence[Any]) -> dict[str, list[str]]:
        """Returns inputs as the serving signature takes them: name to strings."""
        return {"text": list(inputs)}

    def unpleasant(self, texts: Sequence[str]) -> list[Any]:
        """Returns inputs made of texts that break tokenizers, to verify an export with."""
        return list(texts)

    @abc.abstractmethod
    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Returns the label vocabulary of the training data, and what else decides how examples are read.

        Args:
            examples: The training examples.
            config: The run's options.
            console: Where decisions are said.

        Returns:
            What was learned.

        Raises:
            DataError: When there is nothing to learn.
        """

    def shaped(self, examples: TextExamples, learned: Learned) -> TextExamples:
        """Returns examples of any source, labelled or not, in the way that was learned."""
        del learned
        return examples

    def num_outputs(self, learned: Learned) -> int:
        """Returns the number of outputs of the head."""
        return len(learned.labels)

    @abc.abstractmethod
    def targets(self, examples: TextExamples, learned: Learned) -> Targets:
        """Returns what the metrics compare outputs with, one for each example."""

    def token_targets(self, targets: Targets, rows: EncodedRows) -> Targets:
        """Returns the targets of `targets`, or in their place those that are known only once texts are tokens."""
        del rows
        return targets

    def row_targets(self, targets: Targets, rows: EncodedRows, learned: Learned) -> RowTargets:
        """Returns what the loss compares outputs with, one for each row of tokens."""
        del learned
        if isinstance(targets, TrueAnswers | HiddenTokens | References):
            raise TypeError(f"{type(self).__name__} has to say what the targets are in rows of tokens.")
        return targets if rows.windows is None else targets[rows.example_of]

    def row_units(self, rows: EncodedRows) -> np.ndarray | None:
        """Returns how much each row of tokens counts in the mean loss, float32 of shape `(rows,)`; None for 1 each."""
        del rows
        return None

    def sample_weights(self, targets: Targets, learned: Learned, config: FitConfig) -> np.ndarray:
        """Returns the weight of each training example in the loss, float32 of shape `(examples,)`."""
        del learned, config
        return np.ones(len(targets), np.float32)

    def encoding(
        self, backbone: TextBackbone, config: FitConfig, learned: Learned, sequence_length: int | None
    ) -> RowEncoding:
        """Returns the way from examples to rows of tokens.

        Args:
            backbone: The backbone.
            config: The run's options.
            learned: What was learned of the training data.
            sequence_length: Longest row in tokens; None for what the backbone allows.

        Returns:
            The encoding.
        """
        from tfft.encoding.texts import TextEncoding

        del config, learned
        return TextEncoding(backbone.encoder(sequence_length))

    def begin(self, head: keras.Model, targets: Targets) -> None:
        """Sets weights of a new head that the training data tells before any step.

        Args:
            head: The head, built.
            targets: Those of the training examples.
        """
        del head, targets

    @abc.abstractmethod
    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns the training loss; its `call` gives a value for each row of tokens."""

    def tunes(self, config: FitConfig) -> bool:
        """Tells whether `tuned` has anything to choose in a run; if not, it is not called."""
        del config
        return type(self).tuned is not Task.tuned

    def tuned(self, outputs: Any, targets: Targets | None, learned: Learned, console: Console) -> Learned:
        """Chooses, once training is over, what is better chosen by the trained model than before: thresholds, say.

        Called once, before the last evaluation. Until then, so in the figures of epochs too, what was learned of the
        data is used.

        Args:
            outputs: Outputs of the kept weights on the examples of the validation split; None when there is no such
                split.
            targets: What `targets` gave for them.
            learned: What was learned of the training data.
            console: Where decisions are said.

        Returns:
            What metrics, predictions and exports of the trained model use.
        """
        del outputs, targets, console
        return learned

    @abc.abstractmethod
    def metrics(self, outputs: Any, targets: Targets, learned: Learned) -> Metrics:
        """Computes the figures over a whole split; outputs and targets are those of examples."""

    @abc.abstractmethod
    def restore_metrics(self, plain: Mapping[str, Any]) -> Metrics:
        """Returns the metrics whose `to_dict` gave this."""

    @abc.abstractmethod
    def baselines(
        self,
        train: tuple[TextExamples, Targets],
        test: tuple[TextExamples, Targets],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, Metrics]:
        """Trains what the model must beat, and returns their figures on the test split."""

    @abc.abstractmethod
    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[Any]:
        """Turns outputs of examples into predictions for people."""

    @abc.abstractmethod
    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Turns outputs of rows into the serving signature's tensors, in the graph; first axis: examples."""

    @abc.abstractmethod
    def served_outputs(self, predictions: Sequence[Any], learned: Learned) -> dict[str, np.ndarray]:
        """Returns what `serve` must give for these predictions, to verify an export.

        Where `serve` gives lists of any length for an example, they are filled up to the longest with "" or 0.
        """

    @abc.abstractmethod
    def sample_data(self) -> pd.DataFrame:
        """Returns a small table that the task can be trained on, for tests and tutorials."""

    def sample_options(self) -> dict[str, Any]:
        """Returns the options that training on the sample data needs besides `task`."""
        return {}


tasks: Registry[Task] = Registry("task", "tfft.tasks")
register_task = tasks.register


def check_task(config: FitConfig) -> None:
    """Checks the task of a run, and that no option is set which it has no use for.

    Args:
        config: The run's options.

    Raises:
        ConfigError: When the task is unknown, or options have no effect.
    """
    task = tasks.get(str(config.task))
    uses = task.uses_of(config) | (frozenset() if config.pretrain_on is None else PRETRAINING_OPTIONS)
    figures = task.figures_of(config)
    defaults = {field.name: field.default for field in dataclasses.fields(FitConfig)}
    problems = []
    for name in TASK_OPTIONS:
        value = getattr(config, name)
        if value != defaults[name] and not (name == "streaming" and value is False) and name not in uses:
            others = [other for other in tasks if name in tasks.get(other).uses]
            problems.append(
                f"The option {name} has no effect with task={config.task!r}; it is for {name_list(others)}"
                f"{', or goes with pretrain_on' if name in PRETRAINING_OPTIONS else ''}. "
                f"Leave {name}={value!r} out."
            )
    if config.monitor.removeprefix("val_") not in figures:
        known = [f"val_{name}" for name in figures]
        problems.append(f"monitor: {unknown_name('figure', config.monitor, known)}")
    if problems:
        raise ConfigError("\n".join(problems))


def unlabelled(texts: Sequence[str], columns: Mapping[str, Sequence[Any]] | None = None) -> TextExamples:
    """Returns texts of a caller as examples.

    Args:
        texts: One text an example.
        columns: What else the task needs.

    Returns:
        Examples without labels.
    """
    where = Origin("the texts", (("the texts", len(texts)),))
    rows = np.arange(1, len(texts) + 1)
    return TextExamples(texts=texts, labels=(), rows=rows, where=where, dropped={}, columns=columns or {})


def _listed(inputs: Any, what: str) -> list[Any]:
    try:
        return list(inputs)
    except TypeError:
        raise DataError(f"A list of {what} is expected; received a {type(inputs).__name__}.") from None
