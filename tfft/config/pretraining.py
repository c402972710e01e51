"""The options of the run that comes before another one: masked language modelling on texts without labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tfft.config.fit_config import FitConfig

#: What both runs have in common: how texts are read and batches computed, not what is trained and how.
_SHARED = (
    "preset", "overwrite", "text_column", "encoding", "quality", "mask_personal_data", "sequence_length", "num_buckets",
    "batch_size", "seed", "strategy", "precision", "jit_compile", "micro_batch_size", "gradient_checkpointing",
    "resume", "checkpoint_steps", "checkpoint_minutes", "keep_checkpoints", "log_to", "sentence_objective",
)  # fmt: skip
#: Options of the first run's task that the second one's need not have.
PRETRAINING_OPTIONS = frozenset({"sentence_objective"})
#: Share of the texts that tells which epoch was the best; there is no test split, since the next run has one.
_VALIDATION = 0.05
#: The head is new: at the rate of the backbone it would learn next to nothing in a short run.
_HEAD_RATE = 1e-3
#: Options of which the finished first run may have others than the one that is asked for.
_FREE = {"resume", "overwrite", "checkpoint_steps", "checkpoint_minutes", "keep_checkpoints", "log_to"}


def pretraining_config(config: FitConfig, output_dir: str) -> FitConfig:
    """Returns the options of the first run.

    All weights are trained, whatever the second run trains: the backbone at the learning rate that is usual for that,
    the new head faster.

    Args:
        config: The options of the second run, with `pretrain_on`.
        output_dir: Where the first run is saved.

    Returns:
        The options.
    """
    shared: dict[str, Any] = {name: getattr(config, name) for name in _SHARED}
    # Files without columns have one that is called "text".
    lines = str(config.pretrain_on).lower().removesuffix(".gz").endswith(".txt")
    return FitConfig(
        task="masked_language_modeling",
        **{**shared, "text_column": FitConfig.text_column if lines else config.text_column},
        data=config.pretrain_on,
        output_dir=output_dir,
        epochs=config.pretrain_epochs,
        learning_rates={"head": _HEAD_RATE},
        validation_fraction=_VALIDATION,
        test_fraction=0.0,
        baselines=config.baselines,
    )


def pretrained_directory(output_dir: str | Path) -> Path:
    """Returns the run directory of the first run: beside that of the second."""
    path = Path(output_dir)
    return path.with_name(f"{path.name}.pretrained")


def differing(one: FitConfig, other: FitConfig) -> list[str]:
    """Returns the options that decide the result of a first run and differ."""
    names = [field.name for field in dataclasses.fields(FitConfig) if field.name not in _FREE]
    return [name for name in names if getattr(one, name) != getattr(other, name)]
