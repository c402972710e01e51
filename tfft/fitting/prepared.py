"""Everything that a training run needs, made from options and splits: model, batches, learning rates."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfft.augment.base import Augmentation
from tfft.augment.compose import Augmenter
from tfft.augmenting import text_augmenter
from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone, masked_language_model
from tfft.backbones.lstm_attention import LSTM_ATTENTION, sequence_backbone
from tfft.backbones.packaged import DEFAULT_TEXT_PRESET
from tfft.backbones.recurrent import BILSTM, RecurrentOptions, recurrent_backbone
from tfft.config import FitConfig
from tfft.config.nested import parse_nested
from tfft.config.sequence_options import EncoderOptions
from tfft.console import Console
from tfft.core.errors import ConfigError, TrainingError, row_list
from tfft.data.joint_rows import JointRows
from tfft.data.learned_tokenizers import learn_tokenizer
from tfft.data.ragged_rows import RaggedRows
from tfft.data.source_target import SOURCE
from tfft.data.splits import TRAIN
from tfft.data.tagged_words import WORDS
from tfft.distribute.kept_memory import kept_memory
from tfft.distribute.plan import ExecutionPlan
from tfft.encoding.base import RowEncoding
from tfft.encoding.texts import TextEncoding
from tfft.finetuned import ADAPTER
from tfft.fitting.encoded import Encoded, model_inputs, tokenize
from tfft.fitting.feeding import pack_training, rate_groups, training_data
from tfft.generating import Generator
from tfft.layers.fast_layers import restore, speed_up
from tfft.layers.recompute import recompute
from tfft.loading import load_run
from tfft.peft.files import DESCRIPTION
from tfft.splitting import SplitData
from tfft.tasks.base import RowTargets, tasks
from tfft.tasks.seq2seq import PRETRAINED_DECODER, GeneratedText
from tfft.training.build import BuiltModel, build_model, check_trainable, what_is_trained, with_room
from tfft.training.diverged import write_diverged
from tfft.training.feeding import TrainingData
from tfft.training.loop import Diverged
from tfft.training.parameter_groups import Groups
from tfft.training.run_state import Position
from tfft.training.step import StepFigures


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run that is ready to train.

    Attributes:
        backbone: The backbone.
        encoding: From examples to rows of tokens.
        data: The splits, without rows that were dropped for their length.
        built: The whole model.
        judged: The model that figures are computed with: the whole one, or its head on cached features.
        trained: The model that is trained: `judged`, unless its head reduces outputs, or the twin for packed rows.
        splits: What `judged` takes, by split.
        training: The batches.
        groups: Learning rates of single variables.
        augmenter: The augmentations, if any.
    """

    backbone: TextBackbone
    encoding: RowEncoding
    data: SplitData
    built: BuiltModel
    judged: keras.Model
    trained: keras.Model
    splits: Mapping[str, Encoded]
    training: TrainingData
    groups: Groups | None
    augmenter: Augmenter | None

    def generator(self, config: FitConfig) -> Generator | None:
        """Returns what writes texts as the run's options say; None where the model writes none."""
        return self.built.generator(self.encoding, config)

    @contextlib.contextmanager
    def computing(self, config: FitConfig, plan: ExecutionPlan) -> Iterator[None]:
        """Makes the backbone compute as training wants it: leaner on a CPU, and its blocks twice where asked for.

        Args:
            config: The run's options.
            plan: Where the step runs.

        Yields:
            Nothing.
        """
        lean = plan.kind == "CPU" and not plan.jit_compile and self.trained is not self.built.head
        if lean:
            speed_up([self.backbone.trunk])
        try:
            with (
                recompute(self.backbone.blocks) if config.gradient_checkpointing else contextlib.nullcontext(),
                kept_memory() if plan.kind == "CPU" else contextlib.nullcontext(),
            ):
                yield
        finally:
            if lean:
                restore([self.backbone.trunk])


def prepare(
    config: FitConfig,
    data: SplitData,
    plan: ExecutionPlan,
    console: Console,
    augmentations: Sequence[Augmentation] = (),
) -> Prepared:
    """Loads the backbone, tokenizes the splits and builds the model.

    Args:
        config: The run's options.
        data: The splits.
        plan: Where and how the training step runs.
        console: Where progress and decisions are said.
        augmentations: Augmentations of training rows, in order.

    Returns:
        The run, ready to train.
    """
    for line in plan.lines():
        console.say(line)
    # Initialisation draws from these; data order, dropout and augmentations have seeds of their own.
    keras.utils.set_random_seed(config.seed)
    if config.preset is None:
        console.say(f"preset: {DEFAULT_TEXT_PRESET} (none was named)")
    with plan.scope():
        backbone = with_room(_backbone(config, data, plan.precision), config)
    if config.preset is not None and any(
        (folder / ADAPTER / DESCRIPTION).is_file() for folder in (Path(config.preset), Path(config.preset).parent)
    ):
        console.say(f"preset: {config.preset} is the backbone of a run whose adapter is not part of it")
    encoding, rows, data = tokenize(config, backbone, data, console)
    augmenter = None
    if isinstance(encoding, TextEncoding):
        augmenter = text_augmenter(
            augmentations,
            config,
            backbone,
            encoding.encoder,
            data.examples[TRAIN],
            console,
            load_translator=lambda path: _translator(path, console),
            masked_lm=masked_language_model(config.preset),
        )
    with plan.scope(), plan.policy():
        built = _build(config, backbone, data, console)
        tasks.get(str(config.task)).begin(built.head, data.targets[TRAIN])
    trained, splits = model_inputs(built, rows, data, config, console)
    judged = built.judged if trained is built.trained else trained
    training = training_data(splits[TRAIN], encoding, augmenter, data, config, plan, console)
    if config.packing:
        trained, training = pack_training(training, rows[TRAIN], encoding, built, backbone, config, plan, console)
    groups = rate_groups(backbone, built, trained, training, config, console)
    return Prepared(backbone, encoding, data, built, judged, trained, splits, training, groups, augmenter)


def diverged_step(data: SplitData, split: Encoded, config: FitConfig, model: keras.Model) -> Diverged:
    """Returns what makes the error of a step that went astray, and keeps its batch.

    Args:
        data: The splits.
        split: The training split as the model takes it.
        config: The run's options.
        model: The model that is trained; only what it takes of a batch is kept.

    Returns:
        From position, rows, batch and figures of the step to the error.
    """
    examples = data.examples[TRAIN]

    def error(position: Position, rows: np.ndarray, batch: Any, figures: StepFigures) -> Exception:
        own = split.rows.example_of[rows]
        numbers = [int(examples.rows[row]) for row in own]
        if config.output_dir is None:
            return TrainingError(
                f"The training loss became {figures.loss}, the norm of the gradient {figures.norm}, at step "
                f"{position.step + 1} ({row_list(numbers)}). Lower learning_rate, raise warmup_fraction or set a "
                "smaller clip_norm. With output_dir the batch would have been kept."
            )
        named = isinstance(model.input, dict)
        inputs = {name: batch[0][name] for name in model.input} if named else {"features": batch[0]}
        target = Path(config.output_dir)
        return TrainingError(
            write_diverged(
                target.with_name(f"{target.name}.diverged"),
                step=position.step + 1,
                epoch=position.epoch + 1,
                rows=numbers,
                texts=[examples.texts[int(row)] for row in own],
                targets=_plain(split.row_targets[rows]),
                inputs={name: np.asarray(value) for name, value in inputs.items()},
                loss=figures.loss,
                norm=figures.norm,
                learning_rate=figures.learning_rate,
            )
        )

    return error


def _plain(targets: RowTargets) -> Any:
    if isinstance(targets, JointRows):
        return {name: _plain(part) for name, part in targets.parts.items()}
    return (targets.values if isinstance(targets, RaggedRows) else targets).tolist()


def _translator(path: str, console: Console) -> Callable[[list[str]], list[str]]:
    """Loads a run whose predictions are texts."""
    model = load_run(Path(path), console)

    def translate(texts: list[str]) -> list[str]:
        predictions = model.predict(texts)
        if not all(isinstance(prediction, GeneratedText) for prediction in predictions):
            raise ConfigError(f"{path} is a run of {model.config.task}, which gives no texts; name a run of seq2seq.")
        return [prediction.text for prediction in predictions]

    return translate


def _backbone(config: FitConfig, data: SplitData, precision: str) -> TextBackbone:
    if config.preset == BILSTM:
        return _word_backbone(config, data, precision)
    if config.preset == LSTM_ATTENTION:
        examples = data.examples[TRAIN]
        if SOURCE not in examples.columns:
            raise ConfigError(
                f"preset={LSTM_ATTENTION!r} is a small model that is trained from scratch, for tasks that write texts; "
                f"task={config.task!r} does not. Choose a pretrained preset."
            )
        options = parse_nested(EncoderOptions, config.encoder, "encoder")
        tokenizer = learn_tokenizer(examples, "source", options)
        return sequence_backbone(tokenizer, options, seed=config.seed, precision=precision)
    return load_text_backbone(config.preset, precision, writes=config.head == PRETRAINED_DECODER)


def _word_backbone(config: FitConfig, data: SplitData, precision: str) -> TextBackbone:
    rows = data.examples[TRAIN].columns.get(WORDS)
    if rows is None:
        raise ConfigError(
            f"preset={BILSTM!r} is a small model over whole words, for tasks that tag words; task={config.task!r} "
            "reads whole texts. Choose a pretrained preset."
        )
    characters = data.learned.settings["words"] == "characters"
    given = {"unit": "character" if characters else "word", **(config.encoder or {})}
    options = parse_nested(RecurrentOptions, given, "encoder")
    words = itertools.chain.from_iterable(rows)
    return recurrent_backbone(words, options, seed=config.seed, precision=precision)


def _build(config: FitConfig, backbone: TextBackbone, data: SplitData, console: Console) -> BuiltModel:
    task = tasks.get(str(config.task))
    built = build_model(backbone, task.head_parts(config, data.learned), config)
    trained = check_trainable(built, config)
    total = sum(int(variable.value.shape.num_elements()) for variable in built.model.variables)
    console.say(
        f"training {trained:,} of {total:,} parameters ({what_is_trained(config)}), "
        f"peak learning rate {config.peak_learning_rate:g}"
    )
    return built
