"""Loading what `FineTunedModel` wrote: run directories, and adapters without their backbone."""

from __future__ import annotations

import functools
from pathlib import Path

from tfft.backbones.keras_hub import load_saved_text_backbone, load_text_backbone
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ArtifactError
from tfft.core.learned import Learned
from tfft.evaluation.report import Report
from tfft.finetuned import ADAPTER, HEAD_WEIGHTS, PRESET, FineTunedModel
from tfft.peft.base import quantize_base
from tfft.peft.files import load_saved, read_adapter
from tfft.runs.run_directory import read_run
from tfft.runs.run_record import RunRecord
from tfft.tasks.base import tasks
from tfft.tasks.seq2seq import PRETRAINED_DECODER
from tfft.training.build import build_model

#: Details of a run that are not of its plan.
_OWN_DETAILS = {"best_epoch", "sequence_length", "task_settings"}


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
        mode = config.quantize_base
        quantize = None if mode is None else functools.partial(quantize_base, mode=mode)
        backbone = load_saved_text_backbone(directory / PRESET, quantize)
        learned = Learned(labels, details["task_settings"])
        built = build_model(backbone, task.head_parts(config, learned), config)
        built.head.load_weights(directory / HEAD_WEIGHTS)
        if built.adapter is not None and not built.adapter.trains_base:
            built.adapter.load_state(read_adapter(directory / ADAPTER).weights)
        record = RunRecord(
            history=documents["history"],
            data=documents["data"],
            held_out=documents["held_out"],
            best_epoch=details["best_epoch"],
            plan={name: value for name, value in details.items() if name not in _OWN_DETAILS},
        )
        encoding = task.encoding(backbone, config, learned, details["sequence_length"])
    except KeyError as error:
        raise ArtifactError(f"{directory} lacks {error}; it was not written by this version of tfft.") from error
    return FineTunedModel(
        config=config,
        learned=learned,
        backbone=backbone,
        built=built,
        encoding=encoding,
        record=record,
        report=report,
        console=console,
    )


def load_adapter_run(directory: Path, preset: str | None, console: Console) -> FineTunedModel:
    """Loads an adapter with its head onto its backbone; nothing in its files is executed.

    Args:
        directory: What `FineTunedModel.save_adapter` wrote.
        preset: The backbone; None for the one that was named when it was trained.
        console: Where progress is shown.

    Returns:
        The model, which predicts exactly as the one that was saved.

    Raises:
        ArtifactError: When a file was altered, or the backbone is another one.
    """
    saved = read_adapter(directory)
    if saved.head is None or saved.labels is None:
        raise ArtifactError(
            f"{directory} holds an adapter without a head; put it on a backbone with tfft.peft.files.add_saved."
        )
    try:
        options = saved.head.options
        config = FitConfig.from_mapping(options["config"])
        task = tasks.get(str(config.task))
        report = Report.from_dict(options["metrics"], task.restore_metrics)
        record = RunRecord({}, options["best_epoch"], {}, list(options["held_out"]), {})
        backbone = load_text_backbone(preset or config.preset, writes=config.head == PRETRAINED_DECODER)
        learned = Learned(list(saved.labels), options["task_settings"])
        built = build_model(backbone, task.head_parts(config, learned), config)
        if built.adapter is None:
            raise ArtifactError(f"{directory}: its config names no method; it was altered.")
        load_saved(built.adapter, saved)
        for variable in built.head.weights:
            variable.assign(saved.head.weights[variable.path])
        encoding = task.encoding(backbone, config, learned, options["sequence_length"])
    except KeyError as error:
        raise ArtifactError(f"{directory} lacks {error}; it was not written by this version of tfft.") from error
    return FineTunedModel(
        config=config,
        learned=learned,
        backbone=backbone,
        built=built,
        encoding=encoding,
        record=record,
        report=report,
        console=console,
    )
