"""Options of how a run is computed, kept and logged."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from tfft.config.option import Positive, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """Where and how a run is computed, kept and logged."""

    baselines: bool = option(True, "Compare with majority class and TF-IDF + logistic regression in the report.")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = option(0, "Fixes splits, data order, initialisation and dropout.")
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker", "tpu", "parameter_server"] = option(
        "auto",
        "Devices that train together. mirrored: all GPUs of this machine; multi_worker: the machines in TF_CONFIG. "
        "auto: what is there. In Python also a tf.distribute.Strategy.",
    )
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = option(
        "auto", "Number format of the computation; weights stay float32. auto: mixed_bfloat16 where it is native."
    )
    jit_compile: Literal["auto"] | bool = option(
        "auto", "Compile forward and backward pass with XLA. auto: on GPUs and TPUs."
    )
    micro_batch_size: Annotated[int, Field(ge=1)] | None = option(
        None, "Rows that a device computes at once; gradients are added up to the batch. None: its whole share."
    )
    gradient_checkpointing: bool = option(
        False, "Compute each layer again in the backward pass instead of keeping what it computed: less memory."
    )

    resume: bool = option(False, "Go on from the newest checkpoint of output_dir; from the start when there is none.")
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = option(
        None, "Write a checkpoint each so many steps. None: by time alone."
    )
    checkpoint_minutes: Positive | None = option(
        10.0, "Write a checkpoint each so many minutes, beside training, when there is an output_dir. None: never."
    )
    keep_checkpoints: Annotated[int, Field(ge=1)] = option(2, "Checkpoints kept while a run goes on.")
    log_to: list[Literal["tensorboard", "csv", "wandb", "mlflow"]] | None = option(
        None, "Where figures are logged while training, under <output_dir>.logs."
    )
