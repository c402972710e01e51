"""Several fine-tuned adapters on one loaded backbone, each with its own head, labels and task."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ArtifactError, ConfigError, DataError, unknown_name
from tfft.core.learned import Learned
from tfft.data.pipeline import Gather, array_gather
from tfft.data.schema import TextExamples
from tfft.encoding.base import RowEncoding
from tfft.inference import ForwardRunner, as_rows
from tfft.peft.adapter_set import AdapterSet
from tfft.peft.base import Base, freeze_base, is_quantized, quantize_base
from tfft.peft.files import SavedAdapter, read_adapter
from tfft.quality.masking import Masker
from tfft.reading import check_batch_size
from tfft.tasks.base import Task, tasks
from tfft.training.build import BuiltModel, assemble

#: Name of the input that says which adapter a row has.
_WHICH = "adapter"


@dataclasses.dataclass(frozen=True)
class _Member:
    """What one adapter brings besides its weights."""

    config: FitConfig
    learned: Learned
    task: Task
    built: BuiltModel
    encoding: RowEncoding
    head: ForwardRunner

    @property
    def group(self) -> tuple[Any, ...]:
        """Rows of adapters with the same can go through the backbone together."""
        config, length = self.config, self.encoding.sequence_length
        cut = config.window_overlap, self.learned.settings.get("words")
        heads = self.task.head(config), repr(config.tasks), config.pooling
        return config.task, *heads, length, config.mask_personal_data, *cut


class AdaptedModel:
    """One backbone and many small adapters, each a fine-tuned model of its own: one for each customer, say.

    The backbone is in memory once. Rows of one call may have different adapters; they go through the backbone in the
    same batches, in which each adapter is computed for all rows.

    Example:
        >>> model = tfft.load_adapters({"reviews": "adapters/reviews", "news": "adapters/news"})
        >>> model.predict(["what a film", "rain tomorrow"], adapter=["reviews", "news"])
        >>> model.predict(["what a film"], adapter={"reviews": 0.7, "tweets": 0.3}, head="reviews")
    """

    def __init__(self, backbone: TextBackbone, console: Console) -> None:
        """Begins without adapters; use `tfft.load_adapters`."""
        self._backbone = backbone
        self._console = console
        self._members: dict[str, _Member] = {}
        freeze_base(backbone.model)
        self._adapters = AdapterSet(Base(backbone.trunk, backbone.blocks, backbone.hidden_dim))
        self._traced: dict[tuple[Any, ...], ForwardRunner] = {}
        # What is in use is decided for the whole base while a graph is traced.
        self._tracing = threading.Lock()

    def add(self, name: str, adapter: str | Path | SavedAdapter) -> None:
        """Puts one more adapter on the backbone.

        Args:
            name: Its name in this model.
            adapter: The directory that `FineTunedModel.save_adapter` wrote, or what it holds.

        Raises:
            ArtifactError: When it belongs to another backbone, has no head, or was altered.
            ConfigError: When the name is taken, or the method cannot share its backbone with others.
        """
        saved = adapter if isinstance(adapter, SavedAdapter) else read_adapter(adapter)
        if saved.head is None or saved.labels is None:
            raise ArtifactError(f"{saved.source} holds an adapter without a head, which nothing can be predicted with.")
        try:
            config = FitConfig.from_mapping(saved.head.options["config"])
            task = tasks.get(str(config.task))
            learned = Learned(list(saved.labels), saved.head.options["task_settings"])
            encoding = task.encoding(self._backbone, config, learned, saved.head.options["sequence_length"])
            self._adapters.add(name, saved)
            try:
                built = assemble(self._backbone, task.head_parts(config, learned))
                for variable in built.head.weights:
                    variable.assign(saved.head.weights[variable.path])
            except BaseException:
                self._adapters.remove(name)
                raise
        except KeyError as error:
            raise ArtifactError(f"{saved.source} lacks {error}; it was not written by this version of tfft.") from error
        self._members[name] = _Member(config, learned, task, built, encoding, ForwardRunner(built.head))
        self._traced.clear()

    def remove(self, name: str) -> None:
        """Takes an adapter off the backbone.

        Args:
            name: Its name.

        Raises:
            ConfigError: When there is none of the name.
        """
        self._check_known(name)
        self._adapters.remove(name)
        del self._members[name]
        self._traced.clear()

    def labels(self, name: str) -> list[str]:
        """Returns the label vocabulary of an adapter, in the order of its outputs."""
        self._check_known(name)
        return list(self._members[name].learned.labels)

    def predict(
        self,
        inputs: Any,
        adapter: str | Sequence[str] | Mapping[str, float],
        *,
        head: str | None = None,
        batch_size: int = 32,
    ) -> list[Any]:
        """Predicts from raw texts, or what else the tasks of the adapters take.

        Args:
            inputs: A list, one item a row.
            adapter: The name of an adapter for all rows; or one for each row; or names with weights, whose changes of
                the backbone's layers are added up (`tfft.AdapterSet.use`).
            head: With weights: the adapter whose head, labels and task are used.
            batch_size: Rows per forward pass; rows of like length go together.

        Returns:
            One prediction a row, as the adapter's own model gives it.

        Raises:
            ConfigError: When a name is unknown, or `head` is missing or not needed.
            DataError: When `inputs` are not what the tasks take, or there are not as many names as rows.
        """
        if isinstance(inputs, (str, bytes)) or not isinstance(inputs, Iterable):
            raise DataError(f"A list of texts is expected; received a {type(inputs).__name__}. Write predict([text]).")
        found = list(inputs)
        check_batch_size(batch_size)
        if isinstance(adapter, Mapping):
            if head is None:
                raise ConfigError(f"Weights need head=, the adapter that gives the labels: one of {list(adapter)}.")
            weights, names = dict(adapter), [head] * len(found)
            if not weights or any(
                isinstance(item, bool) or not isinstance(item, int | float) for item in weights.values()
            ):
                raise ConfigError(f"Weights are numbers, of one adapter at least; received {weights!r}.")
        elif head is not None:
            raise ConfigError("head= goes with weights of adapters; otherwise each row has the head of its adapter.")
        elif isinstance(adapter, str):
            weights, names = {adapter: 1.0}, [adapter] * len(found)
        elif isinstance(adapter, Iterable):
            weights, names = {}, list(adapter)
        else:
            raise ConfigError(f"adapter= is a name, a name for each row, or names with weights; received {adapter!r}.")
        for name in {*names, *weights}:
            self._check_known(name)
        if len(names) != len(found):
            raise DataError(f"{len(names)} names of adapters were given for {len(found)} rows; give one for each.")
        return self._predictions(found, names, weights, batch_size)

    def _predictions(
        self, inputs: Sequence[Any], names: Sequence[str], weights: Mapping[str, float], batch_size: int
    ) -> list[Any]:
        result: list[Any] = [None] * len(inputs)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for row, name in enumerate(names):
            groups.setdefault(self._members[name].group, []).append(row)
        for places in groups.values():
            own = [names[place] for place in places]
            examples = self._members[own[0]].task.from_inputs([inputs[place] for place in places])
            for name, found in self._of_group(examples, own, weights, batch_size):
                chosen = [place for place, other in zip(places, own, strict=True) if other == name]
                for place, prediction in zip(chosen, found, strict=True):
                    result[place] = prediction
        return result

    def _of_group(
        self, examples: TextExamples, names: Sequence[str], weights: Mapping[str, float], batch_size: int
    ) -> Iterator[tuple[str, list[Any]]]:
        """Yields each adapter's name and predictions: one pass of the backbone for all, then each one's head."""
        member = self._members[names[0]]
        if member.config.mask_personal_data:
            masker = Masker()
            examples = dataclasses.replace(examples, texts=[masker.mask(text) for text in examples.texts])
        rows = member.encoding.encode(examples, self._console, what="texts")
        example_of = rows.example_of
        if not weights and len(set(names)) == 1:
            weights = {names[0]: 1.0}
        runner, gather = self._runner(member, weights), rows.gather
        if not weights:
            gather = _with_numbers(gather, self._adapters.numbers([names[place] for place in example_of]))
        pooled = runner.outputs(
            gather, rows.lengths, batch_size=batch_size, console=self._console, what="predicting", items=rows.items
        )
        features = as_rows(pooled)
        quiet = Console(quiet=True)
        for name in dict.fromkeys(names):
            own, places = self._members[name], np.flatnonzero([other == name for other in names])
            own_rows = own.encoding.encode(examples.take(places), quiet, what="texts")
            chosen = features[np.flatnonzero(np.isin(example_of, places))]
            lengths = np.ones(len(chosen), np.int32) if own_rows.items is None else np.maximum(own_rows.items, 1)
            outputs = own.head.outputs(
                array_gather(chosen), lengths, batch_size=batch_size, console=quiet, what="", items=own_rows.items
            )
            yield name, own.task.decode(own_rows.of_examples(outputs), own_rows, own.learned)

    def _runner(self, member: _Member, weights: Mapping[str, float]) -> ForwardRunner:
        """Returns the graph for adapters with weights, or for a choice in each row when there are none."""
        key = (member.group, tuple(sorted(weights.items())))
        with self._tracing:
            if key not in self._traced:
                features = member.built.features
                if not weights:
                    features = _by_row(self._adapters, features)
                self._adapters.use(weights or None)
                try:
                    self._traced[key] = ForwardRunner(features)
                finally:
                    self._adapters.use(None)
            return self._traced[key]

    def _check_known(self, name: str) -> None:
        if name not in self._members:
            raise ConfigError(unknown_name("adapter", str(name), list(self._members)))

    def __contains__(self, name: object) -> bool:
        """Tells whether an adapter has the name."""
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names, in the order of addition."""
        return iter(self._members)

    def __len__(self) -> int:
        """Returns the number of adapters."""
        return len(self._members)


class _ByRow(keras.layers.Layer):
    """Computes a model whose rows have the adapters that one more input names."""

    def __init__(self, adapters: AdapterSet, model: keras.Model) -> None:
        super().__init__(name="by_row")
        # Not as attributes, which Keras would count as layers and variables of this one.
        self._parts = lambda: (adapters, model)

    def call(self, inputs: Mapping[str, Any]) -> Any:
        adapters, model = self._parts()
        rest = {name: value for name, value in inputs.items() if name != _WHICH}
        with adapters.rows(inputs[_WHICH]):
            return model(rest, training=False)

    def compute_output_spec(self, inputs: Mapping[str, Any]) -> Any:
        outputs = self._parts()[1].output
        return keras.tree.map_structure(lambda output: keras.KerasTensor(output.shape, output.dtype), outputs)


def _by_row(adapters: AdapterSet, features: keras.Model) -> keras.Model:
    inputs = {name: keras.Input(item.shape[1:], dtype=item.dtype, name=name) for name, item in features.input.items()}
    inputs[_WHICH] = keras.Input((), dtype="int32", name=_WHICH)
    return keras.Model(inputs, _ByRow(adapters, features)(inputs))


def _with_numbers(gather: Gather, numbers: np.ndarray) -> Gather:
    every = tf.constant(numbers)
    return lambda rows, width: {**gather(rows, width), _WHICH: tf.gather(every, rows)}


def load_adapted(adapters: Mapping[str, str | os.PathLike[str]], preset: str | None, console: Console) -> AdaptedModel:
    """Loads adapters with their heads onto one backbone; nothing in their files is executed.

    Args:
        adapters: Name to what `FineTunedModel.save_adapter` wrote.
        preset: The backbone; None for the one that the first was trained on.
        console: Where progress is shown.

    Returns:
        The model.

    Raises:
        ArtifactError: When a file was altered, or the adapters belong to different backbones.
        ConfigError: When there are none, or a method cannot share its backbone with others.
    """
    if not isinstance(adapters, Mapping) or not adapters:
        raise ConfigError("No adapters were named; give names with directories, {'reviews': 'adapters/reviews'}.")
    saved = {name: read_adapter(Path(directory)) for name, directory in adapters.items()}
    first = next(iter(saved.values()))
    options: Mapping[str, Any] = {} if first.head is None else first.head.options.get("config", {})
    backbone = load_text_backbone(preset or options.get("preset"))
    mode = options.get("quantize_base")
    if mode is not None and not is_quantized(backbone.model):
        quantize_base(backbone.model, mode)
    model = AdaptedModel(backbone, console)
    for name, item in saved.items():
        model.add(name, item)
    return model
