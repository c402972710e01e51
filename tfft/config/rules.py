"""The rules between options: combinations that contradict each other, or would have no effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tfft.config.nested import parse_nested
from tfft.config.sequence_options import DecoderOptions, DecodingOptions, EncoderOptions, LengthLimits
from tfft.core.errors import ConfigError

if TYPE_CHECKING:
    from tfft.config.fit_config import FitConfig

#: Ways to split by a column, and the option that names it.
SPLIT_COLUMNS = {"grouped": "group_column", "time": "time_column", "predefined": "split_column"}
#: Presets without pretrained weights.
FROM_SCRATCH = ("bilstm", "lstm_attention")
#: The task whose tasks are those of the option `tasks`.
MULTI_TASK = "multi_task"
#: The options a rule looks at, whether it is broken, and what to say then.
Rule = tuple[set[str], Callable[[], bool], str]


def broken_rules(config: FitConfig, wrong: set[str]) -> list[str]:
    """Returns a line for each broken rule, as far as the options it looks at are of the right type.

    Args:
        config: The options.
        wrong: Names of options of the wrong type.

    Returns:
        Messages.
    """
    rules = [*_basic_rules(config), *_split_rules(config), *_training_rules(config), *_execution_rules(config)]
    return [message for fields, broken, message in rules if not fields & wrong and broken()]


def _basic_rules(config: FitConfig) -> list[Rule]:
    return [
        (
            {"task"},
            lambda: config.task is None,
            "The option task is missing; pass for instance task='text_classification'.",
        ),
        (
            {"task", "tasks"},
            lambda: config.tasks is not None and config.task != MULTI_TASK,
            f"task={config.task!r} and tasks each say what to learn; choose one.",
        ),
        (
            {"text_column", "label_column"},
            lambda: config.text_column == config.label_column,
            f"text_column and label_column are both {config.text_column!r}; they must differ.",
        ),
        (
            {"validation_fraction", "test_fraction", "validation_data", "test_data"},
            lambda: config.validation_share + config.test_share >= 1.0,
            "validation_fraction + test_fraction must be below 1, or nothing is left to train on.",
        ),
        (
            {"patience", "validation_fraction", "validation_data"},
            lambda: config.patience is not None and not config.has_validation,
            "patience needs a validation split; set validation_fraction or validation_data.",
        ),
        (
            {"monitor", "validation_fraction", "validation_data"},
            lambda: config.monitor != "val_loss" and not config.has_validation,
            f"monitor={config.monitor!r} needs a validation split; set validation_fraction or validation_data.",
        ),
        (
            {"validation_fraction", "test_fraction", "validation_data", "test_data"},
            lambda: not config.has_validation and config.test_data is None and not config.test_fraction,
            "Neither a validation nor a test split is left; set one of the fractions above 0.",
        ),
        (
            {"pretrain_on", "pretrain_epochs"},
            lambda: config.pretrain_on is None and config.pretrain_epochs != 1,
            "pretrain_epochs needs pretrain_on.",
        ),
        (
            {"pretrain_on", "task"},
            lambda: config.pretrain_on is not None and config.task == "masked_language_modeling",
            "pretrain_on is for a task that follows; give the texts as data.",
        ),
        (
            {"pretrain_on", "preset"},
            lambda: config.pretrain_on is not None and config.preset in FROM_SCRATCH,
            f"preset={config.preset!r} is made from the training rows, so that nothing comes before them; leave "
            "pretrain_on out.",
        ),
        (
            {"encoder", "preset"},
            lambda: config.encoder is not None and config.preset not in FROM_SCRATCH,
            f"encoder has options of presets that are made from the training rows: {', '.join(FROM_SCRATCH)}; leave it "
            "out, or name one of these.",
        ),
        (
            {"source_column", "target_column"},
            lambda: config.source_column == config.target_column,
            f"source_column and target_column are both {config.source_column!r}; they must differ.",
        ),
        *_nested_rules(config),
        (
            {"overwrite", "output_dir"},
            lambda: config.overwrite and config.output_dir is None,
            "overwrite needs output_dir.",
        ),
    ]


def _nested_rules(config: FitConfig) -> list[Rule]:
    """Returns what is wrong inside options that are mappings."""
    parsed: dict[str, type] = {"decoder": DecoderOptions, "decoding": DecodingOptions, "length_filter": LengthLimits}
    if config.preset == "lstm_attention":
        parsed["encoder"] = EncoderOptions
    found: list[Rule] = []
    for name, cls in parsed.items():
        given = getattr(config, name)
        if given is None or not isinstance(given, Mapping):
            continue
        try:
            parse_nested(cls, given, name)
        except ConfigError as error:
            found.append(({name}, lambda: True, str(error)))
    return found


def _split_rules(config: FitConfig) -> list[Rule]:
    named = [name for name in SPLIT_COLUMNS.values() if getattr(config, name) is not None]
    needed = SPLIT_COLUMNS.get(config.split) if isinstance(config.split, str) else None
    columns = {"split", *SPLIT_COLUMNS.values()}
    return [
        (columns, lambda: len(named) > 1, f"{' and '.join(named)} each decide the split; name one."),
        (
            columns,
            lambda: needed is not None and getattr(config, needed) is None,
            f"split={config.split!r} needs {needed}.",
        ),
        (
            columns,
            lambda: config.split != "auto" and any(name != needed for name in named),
            f"split={config.split!r} does not use {' and '.join(named)}; leave split on 'auto', or the column out.",
        ),
        (
            {*columns, "text_column", "label_column"},
            lambda: config.key_column in (config.text_column, config.label_column),
            f"The split column {config.key_column!r} is the text or label column; it must be another.",
        ),
        (
            {"split", "streaming"},
            lambda: config.streaming is True and config.split in ("stratified", "random"),
            f"split={config.split!r} needs all rows in memory; streamed ones are split by hash, group, time, column.",
        ),
        (
            {"cache_dir", "streaming", "split"},
            lambda: config.cache_dir is not None and not _may_stream(config),
            "cache_dir is for streamed rows, but streaming is off.",
        ),
        (
            {"synthetic_data", "streaming"},
            lambda: config.synthetic_data is not None and config.streaming is True,
            "synthetic_data cannot be streamed; set streaming=False, or add its rows to the data.",
        ),
        (
            {*columns, "validation_data", "test_data"},
            lambda: None not in (config.validation_data, config.test_data) and (bool(named) or config.split != "auto"),
            f"validation_data and test_data are given, so that {named[0] if named else 'split'} has no effect; "
            "leave it out.",
        ),
        (
            {"resample", "class_weights"},
            lambda: config.resample != "none" and config.class_weights == "balanced",
            "resample and class_weights='balanced' both balance the classes; choose one.",
        ),
    ]


def _may_stream(config: FitConfig) -> bool:
    if isinstance(config.streaming, bool):
        return config.streaming
    return config.split not in ("stratified", "random")


def _training_rules(config: FitConfig) -> list[Rule]:
    frozen = config.head_only
    on_layers = [name for name in ("layer_decay", "unfreeze_epochs") if getattr(config, name) is not None]
    return [
        (
            {"preset", "freeze", "peft", "train_layers"},
            lambda: config.preset in FROM_SCRATCH and (frozen or config.peft_method is not None),
            f"preset={config.preset!r} has no pretrained weights to keep; leave freeze, peft and train_layers out.",
        ),
        (
            {"freeze", "peft", *on_layers},
            lambda: frozen and bool(on_layers),
            f"{' and '.join(on_layers)} is about the layers of the backbone, which freeze='backbone' does not train.",
        ),
        (
            {"peft"},
            lambda: isinstance(config.peft, dict) and not isinstance(config.peft.get("method"), str),
            f"peft={config.peft!r} names no method; write for instance peft={{'method': 'lora', 'rank': 16}}.",
        ),
        (
            {"peft", "train_layers", "freeze"},
            lambda: sum([config.peft is not None, config.train_layers is not None, config.freeze != "none"]) > 1,
            "peft, train_layers and freeze each say what is trained; choose one.",
        ),
        (
            {"quantize_base", "peft"},
            lambda: config.quantize_base is not None and config.peft_method in (None, "partial"),
            "quantize_base is for weights that are not trained; add a method, for instance peft='lora'.",
        ),
        (
            {"ema", "swa_start"},
            lambda: config.ema is not None and config.swa_start is not None,
            "ema and swa_start are two averages of the weights; choose one.",
        ),
        (
            {"r_drop", "freeze", "peft", "dropout"},
            lambda: bool(config.r_drop) and frozen and not config.dropout,
            "r_drop compares two dropout masks, but a frozen backbone has none and dropout is 0; set dropout.",
        ),
        (
            {"packing", "freeze", "peft"},
            lambda: config.packing and frozen,
            "packing has no effect with freeze='backbone': the head trains on one vector a row.",
        ),
        (
            {"packing", "batching"},
            lambda: config.packing and config.batching not in ("auto", "shuffled"),
            f"packing makes padding small by itself; leave batching={config.batching!r} out.",
        ),
        (
            {"packing", "micro_batch_size"},
            lambda: config.packing and config.micro_batch_size is not None,
            "packing and micro_batch_size cut a batch in two ways; choose one.",
        ),
        (
            {"packing", "augment"},
            lambda: config.packing and bool(config.augment),
            "packing is not done for augmented rows; choose packing or augment.",
        ),
    ]


def _execution_rules(config: FitConfig) -> list[Rule]:
    needing = [name for name in ("resume", "log_to") if getattr(config, name)]
    needing += [name for name in ("checkpoint_steps",) if getattr(config, name) is not None]
    return [
        (
            {"micro_batch_size", "batch_size"},
            lambda: config.micro_batch_size is not None and config.micro_batch_size > config.batch_size,
            f"micro_batch_size={config.micro_batch_size} is more than batch_size={config.batch_size}.",
        ),
        (
            {"output_dir", *needing},
            lambda: config.output_dir is None and bool(needing),
            f"{' and '.join(needing)} needs output_dir.",
        ),
        (
            {"gradient_checkpointing", "freeze", "peft"},
            lambda: config.gradient_checkpointing and config.head_only,
            "gradient_checkpointing has no effect with freeze='backbone': the backbone has no backward pass.",
        ),
    ]
