"""What `tfft.fit` and `tfft.load` return: a trained model that predicts, evaluates, exports and saves itself."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import save_text_backbone
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.core.learned import Learned
from tfft.data.schema import TextExamples
from tfft.encoding.base import EncodedRows, RowEncoding
from tfft.evaluation.evaluation import Evaluation
from tfft.evaluation.report import Report
from tfft.export.base import Exportable, exporters
from tfft.generating import Generator
from tfft.inference import ForwardRunner
from tfft.peft.base import Adapter
from tfft.peft.files import SavedHead, save_adapter
from tfft.peft.report import PeftReport, peft_report
from tfft.quality.masking import Masker
from tfft.reading import check_batch_size, is_source, read_examples
from tfft.runs.run_directory import versions, write_run
from tfft.runs.run_record import RunRecord
from tfft.tasks.base import Task, tasks
from tfft.training.build import BuiltModel

#: Parts of a run directory.
HEAD_WEIGHTS, PRESET, ADAPTER = "head.weights.h5", "preset", "adapter"


class FineTunedModel:
    """A fine-tuned model with everything around it.

    Attributes:
        config: The options of the run.
        learned: The label vocabulary, in the order of the outputs, and what else the task learned of the data.
        record: History, data fingerprint, plan.
        report: Before and after on the test split, beside the baselines.
    """

    def __init__(
        self,
        *,
        config: FitConfig,
        learned: Learned,
        backbone: TextBackbone,
        built: BuiltModel,
        encoding: RowEncoding,
        record: RunRecord,
        report: Report,
        console: Console,
    ) -> None:
        """Puts the parts together; use `tfft.fit` or `tfft.load`."""
        self.config = config
        self.learned = learned
        self.record = record
        self.report = report
        self._backbone = backbone
        self._built = built
        self._encoding = encoding
        self._console = console

    @property
    def keras_model(self) -> keras.Model:
        """The ordinary Keras model: token features in, logits out."""
        return self._built.model

    @property
    def labels(self) -> list[str]:
        """The label vocabulary, in the order of the outputs."""
        return self.learned.labels

    @property
    def task(self) -> Task:
        """The task object."""
        return tasks.get(str(self.config.task))

    @property
    def history(self) -> dict[str, list[float]]:
        """Figure to its value after each epoch."""
        return self.record.history

    @property
    def adapter(self) -> Adapter | None:
        """What the parameter-efficient method added to the backbone; None when there was no such method."""
        return self._built.adapter

    def merge(self) -> None:
        """Folds the adapter into the backbone's weights: predictions are the same up to rounding, and cost less.

        Raises:
            ConfigError: When there is no adapter, or its method or the quantized backbone does not allow it.
        """
        self._own_adapter().merge()
        self._forget_graphs()  # they hold the adapter

    def unmerge(self) -> None:
        """Gives the backbone its own weights back, to the bit.

        Raises:
            ConfigError: When there is no adapter, or it is not merged.
        """
        self._own_adapter().unmerge()
        self._forget_graphs()

    def _forget_graphs(self) -> None:
        self.__dict__.pop("_runner", None)
        self.__dict__.pop("_generator", None)

    def _own_adapter(self) -> Adapter:
        if self.adapter is None:
            raise ConfigError("This model has no adapter: all that was trained are weights of its own.")
        return self.adapter

    @contextlib.contextmanager
    def _merged_as(self, merged: bool) -> Iterator[None]:
        """Folds the adapter in, or takes it out again, for a while."""
        if (before := self.adapter is not None and self.adapter.merged) != merged:
            (self.merge if merged else self.unmerge)()
        try:
            yield
        finally:
            if before != merged:
                (self.unmerge if merged else self.merge)()

    @functools.cached_property
    def _runner(self) -> ForwardRunner:
        return ForwardRunner(self._built.judged)

    @functools.cached_property
    def _generator(self) -> Generator | None:
        return self._built.generator(self._encoding, self.config)

    def with_decoding(self, **options: Any) -> FineTunedModel:
        """Returns the same model with another search for texts; the weights are shared.

        Args:
            **options: Those of the option `decoding`, for instance `beams=8` or `n_best=3`; others stay as they are.

        Returns:
            The model, which predicts, evaluates and exports in that way.

        Raises:
            ConfigError: When the model writes no texts, or an option is out of range.
        """
        if self._built.writer is None:
            raise ConfigError(f"A model of task={self.config.task!r} writes no texts, so there is nothing to search.")
        changed = copy.copy(self)
        changed.__dict__.pop("_generator", None)
        changed.config = dataclasses.replace(self.config, decoding={**(self.config.decoding or {}), **options})
        return changed

    def outputs(self, inputs: Any, *, batch_size: int = 32) -> Any:
        """Returns the model's raw outputs.

        Args:
            inputs: A list of texts, or what else the task takes.
            batch_size: Rows per forward pass; rows of like length go together.

        Returns:
            Logits, float32 of shape `(rows, num_outputs)`; where the model says something of each word of a row,
            `SequenceOutputs`.

        Raises:
            DataError: When `inputs` are not what the task takes.
            ConfigError: When `batch_size` is below 1.
        """
        return self._outputs(self.task.from_inputs(inputs), batch_size, self._console)[0]

    def _outputs(self, examples: TextExamples, batch_size: int, console: Console) -> tuple[Any, EncodedRows]:
        check_batch_size(batch_size)
        if self.config.mask_personal_data:
            masker = Masker()
            examples = dataclasses.replace(examples, texts=[masker.mask(text) for text in examples.texts])
        rows = self._encoding.encode(examples, console, what="texts")
        outputs: Any = {}
        if rows.scored:
            found = self._runner.outputs(
                rows.gather, rows.lengths, batch_size=batch_size, console=console, what="predicting", items=rows.items
            )
            outputs = rows.of_examples(found)
        if self._generator is not None:
            written = self._generator.outputs(rows, batch_size=batch_size, console=console, what="writing")
            outputs = {"scored": outputs, **written} if rows.scored else written
        return outputs, rows

    def _predictions(self, examples: TextExamples, batch_size: int, console: Console) -> list[Any]:
        outputs, rows = self._outputs(examples, batch_size, console)
        return self.task.decode(outputs, rows, self.learned)

    def predict(self, data: Any, *, batch_size: int = 32) -> list[Any]:
        """Predicts from raw texts.

        Args:
            data: A list of texts, or of pairs of texts where the task takes those; or anything that `tfft.fit` takes as
                data, with the run's text columns.
            batch_size: Rows per forward pass.

        Returns:
            One prediction a row; for text classification a `Prediction` with `label` and `probabilities`, for token
            classification a `TaggedText`, for pairs a `PairPrediction` or a `PairScore`, for question answering a
            `PredictedAnswer`, for relations a `PredictedRelation`, for masked language modelling a `FilledText`, of
            several heads a `JointPrediction`, for sequence to sequence a `GeneratedText`. None for a row without text.

        Raises:
            DataError: When the data cannot be read.

        Example:
            >>> model.predict(["what a film"])[0].label
            'positive'
        """
        if is_source(data) and not self.task.takes(data):
            return [prediction for _, prediction in self.predict_rows(data, batch_size=batch_size)]
        return self._predictions(self.task.from_inputs(data), batch_size, self._console)

    def predict_rows(self, source: Any, *, batch_size: int = 32) -> list[tuple[str | None, Any]]:
        """Predicts every row of a data source.

        Args:
            source: Anything that `tfft.fit` takes as data, with the run's text column.
            batch_size: Rows per forward pass.

        Returns:
            Text and prediction of each row; both None for a row that has no text.

        Raises:
            DataError: When the data cannot be read.
        """
        examples = self.task.shaped(self.read(source, labelled=False), self.learned)
        predictions = self._predictions(examples, batch_size, self._console)
        found: list[tuple[str | None, Any]] = [(None, None)] * examples.where.total
        for row, text, prediction in zip(examples.rows, examples.texts, predictions, strict=True):
            found[row - 1] = (text, prediction)
        return found

    def read(self, source: Any, *, labelled: bool) -> TextExamples:
        """Reads data with the columns and options of the run.

        Args:
            source: Anything `tfft.fit` takes as data.
            labelled: Whether labels are wanted.

        Returns:
            The examples.

        Raises:
            DataError: When the data cannot be used.
        """
        return read_examples(source, self.config, self._console, labelled=labelled).examples

    def evaluate(self, source: Any, *, batch_size: int = 32) -> Evaluation:
        """Computes the figures on labelled data, once over all of it.

        Args:
            source: Anything `tfft.fit` takes as data, with the columns of the run.
            batch_size: Rows per forward pass.

        Returns:
            The figures.

        Raises:
            DataError: When the data cannot be used, or has a label the model does not know.
        """
        examples = self.read(source, labelled=True)
        examples = self.task.shaped(examples, self.learned)
        targets = self.task.targets(examples, self.learned)
        outputs, _ = self._outputs(examples, batch_size, self._console)
        metrics = self.task.metrics(outputs, targets, self.learned)
        return Evaluation(f"{examples.where}, {len(examples):,} rows", metrics)

    def export(self, directory: str | Path, *, format: str = "saved_model", merge: bool | None = None) -> Path:
        """Exports the model and verifies what was written.

        Args:
            directory: The model's base directory; a version directory is created in it.
            format: Name of an exporter.
            merge: Whether the adapter of a parameter-efficient method is folded into the weights, so that the export
                costs no more than the backbone does. None: where that can be done.

        Returns:
            What was written, for instance `saved_models/reviews/1`.

        Raises:
            ConfigError: When `merge` is asked for and cannot be done.
            ExportError: When the reloaded export does not agree with `predict`.
        """
        exporter = exporters.get(format)
        if merge is None:
            merge = self.adapter is not None and self.adapter.can_merge
            if self.adapter is not None:
                how = "folded into the weights" if merge else "kept apart, since it cannot be folded into the weights"
                self._console.say(f"export: the {self.adapter.config.method} adapter is {how}")

        def predict(inputs: Sequence[Any]) -> list[Any]:
            # What was trained is the model with its adapter apart: that is what the export must agree with.
            with self._merged_as(False):
                return self._predictions(self.task.from_inputs(inputs), 32, Console(quiet=True))

        with self._merged_as(merge):
            exportable = Exportable(
                model=self._built.judged,
                generator=self._generator,
                encoding=self._encoding,
                task=self.task,
                learned=self.learned,
                held_out=self.record.held_out,
                predict=predict,
                metadata={"task": self.config.task, "labels": self.labels, "versions": versions()},
            )
            return exporter.export(exportable, Path(directory), self._console)

    def save_adapter(self, directory: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the adapter and the head without the backbone; `tfft.load_adapter` puts them on it again.

        Args:
            directory: Where to write.
            overwrite: Whether an earlier adapter there may be replaced.

        Returns:
            The directory.

        Raises:
            ConfigError: When there is no adapter.
            ArtifactError: When writing fails; what was there before is left as it was.
        """
        options = {
            "config": self.config.to_dict(),
            "sequence_length": self._encoding.sequence_length,
            "task_settings": self.learned.settings,
            "metrics": self.report.to_dict(),
            "held_out": self.record.held_out,
            "best_epoch": self.record.best_epoch,
        }
        weights = {variable.path: np.asarray(variable.value) for variable in self._built.head.weights}
        return save_adapter(
            directory,
            self._own_adapter(),
            base_name=self._backbone.preset,
            head=SavedHead(options, weights),
            labels=self.labels,
            overwrite=overwrite,
        )

    def peft_report(self) -> PeftReport:
        """Says what training the adapter costs: trained weights, memory, size of its file, layer by layer.

        Returns:
            The report; `str()` of it is for people.

        Raises:
            ConfigError: When there is no adapter.
        """
        return peft_report(self.keras_model, self._own_adapter())

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Writes the run directory.

        Args:
            directory: Where to write.
            overwrite: Whether an earlier run there may be replaced.

        Raises:
            ArtifactError: When writing fails; an earlier run is left as it was.
        """
        documents = {
            "config": self.config.to_dict(),
            "labels": self.labels,
            "history": self.record.history,
            "metrics": self.report.to_dict(),
            "data": self.record.data,
            "run_details": {
                "best_epoch": self.record.best_epoch,
                "sequence_length": self._encoding.sequence_length,
                "task_settings": self.learned.settings,
                **self.record.plan,
            },
            "held_out": self.record.held_out,
        }

        def write_weights(folder: Path) -> None:
            save_text_backbone(self._backbone, folder / PRESET)
            self._built.head.save_weights(folder / HEAD_WEIGHTS)
            if self.adapter is not None and not self.adapter.trains_base:
                save_adapter(folder / ADAPTER, self.adapter, base_name=self._backbone.preset)

        with self._merged_as(False):
            write_run(Path(directory), documents, write_weights, overwrite=overwrite)
        self._console.say(f"saved: {directory}")
