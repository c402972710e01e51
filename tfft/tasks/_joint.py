"""Several tasks on one backbone: what the tasks that are made of others share."""

from __future__ import annotations

import abc
import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, name_list
from tfft.core.learned import Learned
from tfft.data.joint_rows import JointRows
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.tagged_words import ReaderWithTexts
from tfft.heads.base import HeadPart
from tfft.metrics.base import Metrics
from tfft.metrics.joint import JointMetrics
from tfft.tasks._members import Member, options_of
from tfft.tasks.base import RowTargets, Targets, Task, tasks

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.backbones.base import TextBackbone
    from tfft.encoding.base import EncodedRows, RowEncoding

#: Column of a member's labels, behind its name.
_LABELS = "labels"
#: Dimensions of an output that says one thing of each row: rows and features.
_ONE_A_ROW = 2


@dataclasses.dataclass(frozen=True)
class JointPrediction:
    """What the heads of a model say of one text.

    Attributes:
        predictions: Name of the head to its prediction, as the task alone gives it.
    """

    predictions: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Returns the prediction of one head."""
        return self.predictions[name]


class JointTask(Task):
    """Several heads on one backbone, trained on the same rows with a weighted sum of their losses.

    The first task that reads words, or else the first one, decides how texts are read and encoded: the leader. What the
    others read of a row stands in columns named after them.
    """

    @abc.abstractmethod
    def members(self, config: FitConfig) -> tuple[Member, ...]:
        """Returns the tasks of a run; raises ConfigError when options do not name them."""

    def uses_of(self, config: FitConfig) -> frozenset[str]:
        """Returns the options that any of the tasks uses, without those for whole rows."""
        return self.uses | options_of(self.members(config))

    def figures_of(self, config: FitConfig) -> tuple[str, ...]:
        """Returns "loss", and the figures of each task behind its name."""
        found = [f"{member.name}_{name}" for member in self.members(config) for name in member.of.figures]
        return ("loss", *found)

    def head(self, config: FitConfig) -> str:
        """Returns the heads, for people."""
        return ", ".join(member.of.head(member.config) for member in self.members(config))

    def head_parts(self, config: FitConfig, learned: Learned | None) -> tuple[HeadPart, ...]:
        """Returns the head of each task."""
        found = []
        for member in self.members(config):
            own = None if learned is None else _learned_of(learned, member.name)
            (part,) = member.of.head_parts(member.config, own)
            found.append(dataclasses.replace(part, name=member.name))
        return tuple(found)

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str] | None:
        """Returns the columns of all tasks; where the leader reads words, the others need no text."""
        found = self.members(config)
        lead = _leader(found)
        columns = lead.of.columns(lead.config, labelled=labelled)
        if not labelled or columns is None:
            return columns
        others = [member.of.columns(member.config, labelled=True) or [] for member in found if member is not lead]
        text = () if config.text_column in columns else (config.text_column,)
        return list(dict.fromkeys(name for name in [*columns, *itertools.chain(*others)] if name not in text))

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads a source once for each task, and keeps the rows that all of them can use."""
        found = self.members(config)
        lead = _leader(found)
        examples = lead.of.examples(reader, lead.config, labelled=labelled, how=how, console=console)
        if not labelled:
            return examples
        again = dataclasses.replace(how, fingerprint=None, key_column=None)
        with_texts: Reader = reader
        if config.text_column not in (lead.of.columns(lead.config, labelled=True) or ()):
            with_texts = ReaderWithTexts(
                reader, tokens_column=lead.config.tokens_column, text_column=config.text_column
            )
        read = {lead.name: examples}
        for member in found:
            if member is not lead:
                read[member.name] = member.of.examples(
                    with_texts, member.config, labelled=True, how=again, console=Console(quiet=True)
                )
        return _together(read, lead.name, console)

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Returns what each task learned, and all labels behind the names of their tasks."""
        found = self.members(config)
        lead = _leader(found)
        kept: dict[str, Any] = {}
        for member in found:
            own = member.of.learned(_view(examples, member.name, lead.name), member.config, console)
            kept[member.name] = {
                "task": member.task, "weight": member.weight, "labels": own.labels, "settings": own.settings
            }  # fmt: skip
        settings: dict[str, Any] = {"members": kept, "leader": lead.name}
        words = {item["settings"]["words"] for item in kept.values() if "words" in item["settings"]}
        if len(words) > 1:
            raise ConfigError(
                f"tasks: the words that are tagged are cut in {len(words)} ways; set words for all alike."
            )
        if words:
            settings["words"] = words.pop()
        labels = [f"{name}/{label}" for name, item in kept.items() for label in item["labels"]]
        return Learned(labels, settings)

    def shaped(self, examples: TextExamples, learned: Learned) -> TextExamples:
        """Returns examples in the way that the leader, and then each other task, learned."""
        names = list(learned.settings["members"])
        lead = learned.settings["leader"]
        found = _task(learned, lead).shaped(examples, _learned_of(learned, lead))
        given = {name for name in examples.columns if "/" in name}
        columns = {**found.columns, **{name: examples.columns[name] for name in given}}
        for name in names:
            if name != lead and any(column.startswith(f"{name}/") for column in given):
                view = _view(dataclasses.replace(found, columns=columns), name, lead)
                columns |= _prefixed(_task(learned, name).shaped(view, _learned_of(learned, name)), name)
        return dataclasses.replace(found, columns=columns)

    def targets(self, examples: TextExamples, learned: Learned) -> JointRows:
        """Returns the targets of each task."""
        lead = learned.settings["leader"]
        return JointRows(
            {
                name: _task(learned, name).targets(_view(examples, name, lead), _learned_of(learned, name))
                for name in learned.settings["members"]
            }
        )

    def row_targets(self, targets: Targets, rows: EncodedRows, learned: Learned) -> RowTargets:
        """Returns the targets of each task by rows of tokens, with the scales that make the losses means.

        The loss of a task alone is a mean, over words for instance. Here the sum over a batch is divided by the rows of
        it, and by what a row of the split has on average: so it is that mean as well but for chance, and the same
        however a batch is cut.
        """
        if not isinstance(targets, JointRows):
            return super().row_targets(targets, rows, learned)
        parts, scales = {}, {}
        for name, own in targets.parts.items():
            task = _task(learned, name)
            parts[name] = task.row_targets(own, rows, _learned_of(learned, name))
            units = task.row_units(rows)
            share = np.ones(len(rows.lengths)) if units is None else np.full(len(units), 1 / max(units.mean(), 1e-9))
            if units is None and rows.windows is not None:  # a text counts once, however many rows it has
                share = 1.0 / np.repeat(rows.windows, rows.windows)
                share *= len(share) / share.sum()
            scales[name] = share.astype(np.float32)
        return JointRows(parts, scales)

    def encoding(
        self, backbone: TextBackbone, config: FitConfig, learned: Learned, sequence_length: int | None
    ) -> RowEncoding:
        """Returns the encoding of the leader, which all tasks read."""
        lead = _leader(self.members(config))
        return lead.of.encoding(backbone, lead.config, _learned_of(learned, lead.name), sequence_length)

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns the weighted sum of the losses of the tasks."""
        from tfft.losses.joint import JointLoss

        found = self.members(config)
        losses = {member.name: member.of.loss(member.config, _learned_of(learned, member.name)) for member in found}
        return JointLoss(losses, {member.name: member.weight for member in found})

    def tunes(self, config: FitConfig) -> bool:
        """Tells whether any of the tasks has something to choose."""
        return any(member.of.tunes(member.config) for member in self.members(config))

    def tuned(self, outputs: Any, targets: Targets | None, learned: Learned, console: Console) -> Learned:
        """Chooses for each task what it chooses."""
        kept = {}
        for name, item in learned.settings["members"].items():
            own = targets.parts[name] if isinstance(targets, JointRows) else None
            found = _task(learned, name).tuned(
                None if outputs is None else outputs[name], own, _learned_of(learned, name), console
            )
            kept[name] = {**item, "labels": found.labels, "settings": found.settings}
        return dataclasses.replace(learned, settings={**learned.settings, "members": kept})

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> JointMetrics:
        """Computes the figures of each task over a whole split."""
        return _joint(
            learned,
            {
                name: _task(learned, name).metrics(outputs[name], targets.parts[name], _learned_of(learned, name))
                for name in learned.settings["members"]
            },
        )

    def restore_metrics(self, plain: Mapping[str, Any]) -> JointMetrics:
        """Returns the figures kept in a run directory."""
        parts = {name: tasks.get(plain["tasks"][name]).restore_metrics(part) for name, part in plain["parts"].items()}
        return JointMetrics(plain["loss"], plain["tasks"], parts)

    def baselines(
        self,
        train: tuple[TextExamples, Targets],
        test: tuple[TextExamples, Targets],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, JointMetrics]:
        """Returns the figures of the baselines of the tasks, side by side: the first of each, the second of each."""
        found: dict[str, list[tuple[str, Metrics]]] = {}
        for member in self.members(config):
            own = [
                (_view(examples, member.name, learned.settings["leader"]), targets.parts[member.name])
                for examples, targets in (train, test)
                if isinstance(targets, JointRows)
            ]
            figures = member.of.baselines(own[0], own[1], _learned_of(learned, member.name), member.config)
            found[member.name] = list(figures.items())
        most = max(map(len, found.values()))
        together = {}
        for place in range(most):
            chosen = {name: own[min(place, len(own) - 1)] for name, own in found.items()}
            called = ", ".join(dict.fromkeys(title for title, _ in chosen.values()))
            together[called] = _joint(learned, {name: figures for name, (_, figures) in chosen.items()})
        return together

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[JointPrediction]:
        """Turns the outputs of all heads into predictions."""
        found = {
            name: _task(learned, name).decode(outputs[name], rows, _learned_of(learned, name))
            for name in learned.settings["members"]
        }
        return [JointPrediction(dict(zip(found, row, strict=True))) for row in zip(*found.values(), strict=True)]

    def serve(self, outputs: Any, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns the tensors of each task behind its name, for instance `intent_label`."""
        import tensorflow as tf

        found: dict[str, tf.Tensor] = {}
        for name in learned.settings["members"]:
            own = outputs[name]
            windows = getattr(context, "windows", None)
            if windows is not None and own.shape.rank == _ONE_A_ROW:
                texts = tf.repeat(tf.range(tf.size(windows)), windows)
                own = tf.math.segment_mean(own, texts)
            served = _task(learned, name).serve(own, context, _learned_of(learned, name))
            found |= {f"{name}_{key}": value for key, value in served.items()}
        return found

    def served_outputs(self, predictions: Sequence[JointPrediction], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the tensors of `serve` for predictions of `decode`."""
        found: dict[str, np.ndarray] = {}
        for name in learned.settings["members"]:
            own = [prediction[name] for prediction in predictions]
            served = _task(learned, name).served_outputs(own, _learned_of(learned, name))
            found |= {f"{name}_{key}": value for key, value in served.items()}
        return found


def _leader(found: Sequence[Member]) -> Member:
    """Returns the task that decides how texts are read: the first that tags words, or else the first."""
    return next((member for member in found if member.of.tags_words), found[0])


def _task(learned: Learned, name: str) -> Task:
    return tasks.get(learned.settings["members"][name]["task"])


def _learned_of(learned: Learned, name: str) -> Learned:
    own = learned.settings["members"][name]
    return Learned(own["labels"], own["settings"])


def _joint(learned: Learned, parts: Mapping[str, Metrics]) -> JointMetrics:
    kept = learned.settings["members"]
    losses = [kept[name]["weight"] * part.scalars().get("loss", np.nan) for name, part in parts.items()]
    loss = None if np.isnan(losses).any() else float(sum(losses))
    return JointMetrics(loss, {name: item["task"] for name, item in kept.items()}, parts)


def _prefixed(examples: TextExamples, name: str) -> dict[str, Sequence[Any]]:
    """Returns what a task read of each row, as columns named after it."""
    found = {f"{name}/{column}": values for column, values in examples.columns.items() if "/" not in column}
    if len(examples.labels):
        found[f"{name}/{_LABELS}"] = examples.labels
    return found


def _view(examples: TextExamples, name: str, lead: str) -> TextExamples:
    """Returns the examples as one of the tasks knows them."""
    labels = examples.columns.get(f"{name}/{_LABELS}", ())
    columns = {column: values for column, values in examples.columns.items() if "/" not in column}
    if name != lead:
        own = {
            column.partition("/")[2]: values
            for column, values in examples.columns.items()
            if column.startswith(f"{name}/")
        }
        columns = {column: values for column, values in own.items() if column != _LABELS}
    return dataclasses.replace(examples, labels=labels, columns=columns)


def _together(read: Mapping[str, TextExamples], lead: str, console: Console) -> TextExamples:
    """Joins what the tasks read of the same source: rows that any of them leaves out are left out."""
    rows = functools.reduce(np.intersect1d, [own.rows for own in read.values()])
    examples = read[lead]
    if not len(rows):
        raise DataError(
            f"{examples.where}: no row is left that all of {name_list([repr(name) for name in read])} can use."
        )
    dropped: dict[str, list[int]] = {}
    for name, own in read.items():
        for reason, numbers in own.dropped.items():
            new = [number for number in numbers if not any(number in others for others in dropped.values())]
            if new:
                dropped.setdefault(reason, []).extend(new)
                if name != lead:
                    console.say(f"{examples.where}: {len(new):,} rows left out for {name}: {reason}")
    taken = {name: own.take(np.searchsorted(own.rows, rows)) for name, own in read.items()}
    columns = dict(taken[lead].columns)
    for name, own in taken.items():
        columns |= (
            _prefixed(own, name)
            if name != lead
            else {column: values for column, values in _prefixed(own, name).items() if column == f"{name}/{_LABELS}"}
        )
    labels = next((own.labels for own in taken.values() if len(own.labels)), ())
    return dataclasses.replace(taken[lead], labels=labels, columns=columns, dropped=dropped)
