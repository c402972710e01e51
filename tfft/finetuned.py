"""What `tfft.fit` and `tfft.load` return: a trained model that predicts, evaluates, exports and saves itself."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_saved_text_backbone, save_text_backbone
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ArtifactError, ConfigError, DataError
from tfft.data.pipeline import token_gather
from tfft.data.schema import TextExamples
from tfft.data.token_cache import encode_texts
from tfft.evaluation.evaluation import Evaluation
from tfft.evaluation.report import Report
from tfft.export.base import Exportable, exporters
from tfft.inference import ForwardRunner
from tfft.layers.text_encoder import TextEncoder
from tfft.quality.masking import Masker
from tfft.reading import is_source, read_examples
from tfft.runs.run_directory import read_run, versions, write_run
from tfft.tasks.base import Task, tasks
from tfft.training.build import BuiltModel, build_model

_HEAD_WEIGHTS = "head.weights.h5"
_PRESET = "preset"


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What a run leaves besides the model.

    Attributes:
        history: Figure to its value after each epoch.
        best_epoch: Number of the epoch, from 1, whose weights were kept.
        data: Fingerprint of the data, split sizes, dropped rows.
        held_out: Texts of the test split, kept to verify exports with.
        plan: Where and how the run was computed.
    """

    history: dict[str, list[float]]
    best_epoch: int
    data: dict[str, Any]
    held_out: list[str]
    plan: dict[str, Any]


class FineTunedModel:
    """A fine-tuned model with everything around it.

    Attributes:
        config: The options of the run.
        labels: The label vocabulary, in the order of the outputs.
        record: History, data fingerprint, plan.
        report: Before and after on the test split, beside the baselines.
    """

    def __init__(
        self,
        *,
        config: FitConfig,
        labels: Sequence[str],
        backbone: TextBackbone,
        built: BuiltModel,
        encoder: TextEncoder,
        record: RunRecord,
        report: Report,
        console: Console,
    ) -> None:
        """Puts the parts together; use `tfft.fit` or `tfft.load`."""
        self.config = config
        self.labels = list(labels)
        self.record = record
        self.report = report
        self._backbone = backbone
        self._built = built
        self._encoder = encoder
        self._console = console

    @property
    def keras_model(self) -> keras.Model:
        """The ordinary Keras model: token features in, logits out."""
        return self._built.model

    @property
    def task(self) -> Task:
        """The task object."""
        return tasks.get(str(self.config.task))

    @property
    def history(self) -> dict[str, list[float]]:
        """Figure to its value after each epoch."""
        return self.record.history

    @functools.cached_property
    def _runner(self) -> ForwardRunner:
        return ForwardRunner(self._built.model)

    def outputs(self, texts: Sequence[str], *, batch_size: int = 32) -> np.ndarray:
        """Returns the model's raw outputs.

        Args:
            texts: One text a row.
            batch_size: Rows per forward pass; rows of like length go together.

        Returns:
            Logits, float32 of shape `(rows, num_outputs)`.

        Raises:
            DataError: When `texts` is not a list of strings.
            ConfigError: When `batch_size` is below 1.
        """
        if isinstance(texts, (str, bytes)):
            raise DataError(
                "A list of texts is expected; received one string, which is no file. Write predict([text])."
            )
        if not isinstance(texts, Iterable):
            raise DataError(f"A list of texts is expected; received a {type(texts).__name__}.")
        texts = list(texts)
        wrong = [place for place, text in enumerate(texts) if not isinstance(text, str)]
        if wrong:
            kind = type(texts[wrong[0]]).__name__
            raise DataError(f"Texts are strings; the item at position {wrong[0]} is a {kind} ({len(wrong)} in all).")
        return self._outputs(texts, batch_size, self._console)

    def _outputs(self, texts: Sequence[str], batch_size: int, console: Console) -> np.ndarray:
        if batch_size < 1:
            raise ConfigError(f"batch_size should be at least 1; received {batch_size}.")
        if self.config.mask_personal_data:
            masker = Masker()
            texts = [masker.mask(text) for text in texts]
        cache = encode_texts(texts, self._encoder, console, what="texts")
        gather = token_gather(cache, self._encoder)
        return self._runner.outputs(gather, cache.lengths, batch_size=batch_size, console=console, what="predicting")

    def predict(self, data: Any, *, batch_size: int = 32) -> list[Any]:
        """Predicts from raw texts.

        Args:
            data: A list of texts, or anything that `tfft.fit` takes as data, with the run's text column.
            batch_size: Rows per forward pass.

        Returns:
            One prediction a row; for text classification a `Prediction` with `label` and `probabilities`. None for a
            row of a data source that has no text.

        Raises:
            DataError: When the data cannot be read.

        Example:
            >>> model.predict(["what a film"])[0].label
            'positive'
        """
        if is_source(data):
            return [prediction for _, prediction in self.predict_rows(data, batch_size=batch_size)]
        return self.task.decode(self.outputs(data, batch_size=batch_size), self.labels)

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
        examples = self.read(source, labelled=False)
        predictions = self.task.decode(self._outputs(examples.texts, batch_size, self._console), self.labels)
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
        targets = self.task.targets(examples, self.labels)
        outputs = self._outputs(examples.texts, batch_size, self._console)
        return Evaluation(f"{examples.where}, {len(examples):,} rows", self.task.metrics(outputs, targets, self.labels))

    def export(self, directory: str | Path, *, format: str = "saved_model") -> Path:
        """Exports the model and verifies what was written.

        Args:
            directory: The model's base directory; a version directory is created in it.
            format: Name of an exporter.

        Returns:
            What was written, for instance `saved_models/reviews/1`.

        Raises:
            ExportError: When the reloaded export does not agree with `predict`.
        """
        exportable = Exportable(
            model=self._built.model,
            encoder=self._encoder,
            task=self.task,
            labels=self.labels,
            held_out=self.record.held_out,
            predict=lambda texts: self.task.decode(self._outputs(texts, 32, Console(quiet=True)), self.labels),
            metadata={"task": self.config.task, "labels": self.labels, "versions": versions()},
        )
        return exporters.get(format).export(exportable, Path(directory), self._console)

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
                "sequence_length": self._encoder.sequence_length,
                **self.record.plan,
            },
            "held_out": self.record.held_out,
        }

        def write_weights(folder: Path) -> None:
            save_text_backbone(self._backbone, folder / _PRESET)
            self._built.head.save_weights(folder / _HEAD_WEIGHTS)

        write_run(Path(directory), documents, write_weights, overwrite=overwrite)
        self._console.say(f"saved: {directory}")


def load_run(directory: Path, console: Console) -> FineTunedModel:
    """Loads a run directory; nothing in it is executed.

    Args:
        directory: What `FineTunedModel.save` wrote.
        console: Where progress is shown.

    Returns:
        The model, which predicts exactly as the one that was saved.

    Raises:
        ArtifactError: When anything in the directory was altered, truncated or is missing.
    """
    documents = read_run(directory)
    try:
        config = FitConfig.from_mapping(documents["config"])
        labels, details = documents["labels"], documents["run_details"]
        task = tasks.get(str(config.task))
        report = Report.from_dict(documents["metrics"], task.restore_metrics)
        backbone = load_saved_text_backbone(directory / _PRESET)
        built = build_model(backbone, task.head, config, len(labels))
        built.head.load_weights(directory / _HEAD_WEIGHTS)
        record = RunRecord(
            history=documents["history"],
            data=documents["data"],
            held_out=documents["held_out"],
            best_epoch=details["best_epoch"],
            plan={name: value for name, value in details.items() if name not in {"best_epoch", "sequence_length"}},
        )
        encoder = backbone.encoder(details["sequence_length"])
    except KeyError as error:
        raise ArtifactError(f"{directory} lacks {error}; it was not written by this version of tfft.") from error
    return FineTunedModel(
        config=config,
        labels=labels,
        backbone=backbone,
        built=built,
        encoder=encoder,
        record=record,
        report=report,
        console=console,
    )
