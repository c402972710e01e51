"""What the training loop is fed with: rows as they are, augmented, or packed."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.augment.compose import Augmenter
from tfft.backbones.base import TextBackbone
from tfft.backbones.packed import build_packed
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.data.order import EpochOrder
from tfft.data.packing import Packer, choose_packer, packed_gather
from tfft.data.pipeline import TrainingGather, augmented_gather
from tfft.data.splits import TRAIN
from tfft.distribute.plan import ExecutionPlan
from tfft.encoding.base import EncodedRows, RowEncoding
from tfft.encoding.masked_texts import MaskedTextEncoding
from tfft.encoding.texts import TextEncoding
from tfft.fitting.encoded import Encoded
from tfft.splitting import SplitData
from tfft.tasks.base import tasks
from tfft.training.build import BuiltModel
from tfft.training.feeding import TrainingData, epoch_order, say_sharing, sharing_of
from tfft.training.parameter_groups import Groups, parameter_groups


def training_data(
    split: Encoded,
    encoding: RowEncoding,
    augmenter: Augmenter | None,
    data: SplitData,
    config: FitConfig,
    plan: ExecutionPlan,
    console: Console,
) -> TrainingData:
    """Makes batches of the training split.

    Args:
        split: The training split as the model takes it.
        encoding: Encodes augmented texts.
        augmenter: The augmentations, if any.
        data: The splits.
        config: The run's options.
        plan: Where the step runs.
        console: Where decisions are said.

    Returns:
        The training data.
    """
    rows, task = split.rows, tasks.get(str(config.task))
    whole = split.cached and rows.items is None  # one vector a row
    order = epoch_order(rows.lengths, split.row_targets, config, plan, console, cached=whole)
    sharing = sharing_of(config, plan)
    say_sharing(sharing, config, console)
    # XLA compiles each shape anew.
    own_gather = rows.static_gather if plan.jit_compile and rows.static_gather is not None else rows.gather

    @tf.autograph.experimental.do_not_convert
    def as_they_are(rows: tf.Tensor, width: tf.Tensor, seed: tf.Tensor) -> Any:
        del seed
        return own_gather(rows, width)

    gather: TrainingGather = as_they_are
    if augmenter is not None and rows.cache is not None and isinstance(encoding, TextEncoding):
        widths = [width for _, width in order.shapes]
        gather = augmented_gather(data.examples[TRAIN].texts, rows.cache, encoding.encoder, augmenter, widths)
    draw = None
    if isinstance(encoding, MaskedTextEncoding) and rows.cache is not None:
        draw = encoding.batch_draw(rows.cache)
    return TrainingData(
        gather,
        split.row_targets,
        data.weights[rows.example_of],
        order,
        sharing,
        row_units=task.row_units(rows),
        augmenter=augmenter,
        draw=draw,
    )


def pack_training(
    training: TrainingData,
    rows: EncodedRows,
    encoding: RowEncoding,
    built: BuiltModel,
    backbone: TextBackbone,
    config: FitConfig,
    plan: ExecutionPlan,
    console: Console,
) -> tuple[keras.Model, TrainingData]:
    """Packs the training batches, and builds the model's twin that takes them.

    Args:
        training: The batches as they are.
        rows: The rows, with their tokens.
        encoding: Its padding id fills rows.
        built: The model.
        backbone: Its backbone.
        config: The run's options.
        plan: Where the step runs.
        console: Where what packing saves is said.

    Returns:
        The twin, which shares all variables, and the packed batches.
    """
    if built.adapter is not None and built.adapter.whole_model:
        raise ConfigError(
            f"packing is not done with peft={config.peft_method!r}, which puts tokens before each row; choose one."
        )
    if rows.cache is None or not isinstance(encoding, TextEncoding) or not isinstance(training.targets, np.ndarray):
        raise ConfigError("packing is for tasks whose rows are plain texts; leave it out.")
    packer = choose_packer(training.order, multiple=plan.num_replicas)
    with plan.scope(), plan.policy():
        twin = build_packed(backbone, built.head, pooling=config.pooling, slots=packer.slots, frozen=False)
    gather = packed_gather(rows.cache, packer, encoding.encoder.pad_id, training.targets, training.weights)
    _say_packing(training.order, packer, console)
    return twin, dataclasses.replace(training, packed=gather)


def _say_packing(order: EpochOrder, packer: Packer, console: Console) -> None:
    if packer.slots == 1:
        console.say("packing: no two rows fit into one as long as the longest, so it has no effect")
        return
    sizes = ", ".join(map(str, packer.row_sizes))
    console.say(
        f"packing: rows of {packer.width} tokens with up to {packer.slots} examples each; a batch of "
        f"{order.batch_size} examples takes {sizes} rows"
    )


def rate_groups(
    backbone: TextBackbone,
    built: BuiltModel,
    model: keras.Model,
    training: TrainingData,
    config: FitConfig,
    console: Console,
) -> Groups | None:
    """Gives each variable its learning rate, and says the groups when there are several.

    Args:
        backbone: Knows how deep a variable is.
        built: Its adapter may give variables rates of their own.
        model: The model that is trained.
        training: Tells the steps of an epoch.
        config: The run's options.
        console: Where the groups are said.

    Returns:
        The groups; None when every variable follows the schedule.
    """
    top = len(backbone.blocks) + 1

    def depth(variable: Any) -> int:
        found = backbone.depth(variable)
        return top if found is None else found

    steps = training.order.steps_per_epoch
    groups = parameter_groups(model.trainable_variables, depth, len(backbone.blocks), config, steps)
    if built.adapter is not None:
        groups = groups.times([built.adapter.rate_factor(variable) for variable in model.trainable_variables])
    if groups.plain:
        return None
    for row in groups.table():
        start = f", from step {row.first_step + 1:,} on" if row.first_step else ""
        console.say(
            f"{row.group}: {row.parameters:,} parameters in {row.variables} variables, peak learning rate "
            f"{row.rate:.3g}{start}"
        )
    never = groups.last_start() - config.epochs * steps
    if never >= 0:
        console.say("unfreeze_epochs: the run ends before the lowest layers are unfrozen")
    return groups
