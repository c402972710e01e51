"""Looking at a run before it: where and how it would be computed, and how much memory a step would take."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from rich.console import RenderableType

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone
from tfft.config import FitConfig
from tfft.console import Console, as_text
from tfft.core.errors import ConfigError
from tfft.data.splits import TRAIN
from tfft.distribute.available import available_memory
from tfft.distribute.memory import (
    MemoryEstimate,
    Recomputing,
    Workload,
    advice,
    alternatives,
    estimate,
    estimate_frozen,
    in_words,
    workload_of,
)
from tfft.distribute.plan import ExecutionPlan
from tfft.evaluation.tables import render
from tfft.heads.base import HeadPart
from tfft.layers.recompute import recompute
from tfft.metrics.base import Table
from tfft.peft.report import PeftReport, peft_report
from tfft.splitting import Sources, split_data
from tfft.tasks.base import tasks
from tfft.training.build import build_model, with_room


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """What one step would take on one device.

    Attributes:
        workload: Rows and width of the step.
        estimate: The parts.
        available: Bytes for all parts; None where nobody says.
        advice: Which option saves how much, the biggest saving first.
    """

    workload: Workload
    estimate: MemoryEstimate
    available: int | None
    advice: Sequence[str]

    @property
    def verdict(self) -> str:
        """Whether it fits, in one line."""
        total = in_words(self.estimate.total)
        if self.available is None:
            return f"a step takes about {total}; how much there is, is unknown"
        if self.estimate.total <= self.available:
            return f"a step takes about {total} of {in_words(self.available)}: it fits"
        return f"a step takes about {total}, but there are {in_words(self.available)}: it does not fit"

    def renderables(self) -> list[RenderableType]:
        """Returns the table, the verdict and the advice."""
        parts = [[name, in_words(size)] for name, size in self.estimate.to_dict().items()]
        shape = f"{self.workload.rows} rows of {self.workload.width} tokens at once"
        return [render(Table("memory of a step", ["part", "size"], parts)), f"{shape}: {self.verdict}", *self.advice]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data, sizes in bytes."""
        return {
            "workload": dataclasses.asdict(self.workload),
            "estimate": self.estimate.to_dict(),
            "available": self.available,
            "advice": list(self.advice),
        }


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """What `tfft.plan` returns.

    Attributes:
        execution: Where and how the step would run.
        memory: What it would take; None when that was not asked for.
    """

    execution: ExecutionPlan
    memory: MemoryPlan | None = None

    def renderables(self) -> list[RenderableType]:
        """Returns three lines, and with memory a table and advice."""
        return [*self.execution.lines(), *([] if self.memory is None else self.memory.renderables())]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        plan = self.execution
        names = ("device", "kind", "strategy_name", "num_replicas", "num_workers", "worker", "precision", "jit_compile")
        found = {name: getattr(plan, name) for name in names}
        found["reasons"] = dataclasses.asdict(plan.reasons)
        return found if self.memory is None else {**found, "memory": self.memory.to_dict()}

    def __str__(self) -> str:
        """Returns lines and tables as plain text."""
        return "\n".join(item if isinstance(item, str) else as_text([item]) for item in self.renderables())

    def _repr_html_(self) -> str:
        """Returns the same for a notebook."""
        return f"<pre>{self}</pre>"


def plan_run(
    config: FitConfig, sources: Sources | None, plan: ExecutionPlan, console: Console, *, memory: bool
) -> RunPlan:
    """Says how a run would be computed, without training.

    Args:
        config: The run's options.
        sources: The data, which decides how wide rows are; None for the widest that the options allow.
        plan: Where and how the step runs.
        console: Where progress is shown.
        memory: Whether to load the backbone and estimate the memory of a step.

    Returns:
        The plan.

    Raises:
        TfftError: When an option, the data or the preset cannot be used.
    """
    if not memory:
        if sources is not None:
            console.say("the data is not read: it decides nothing but the memory of a step, which memory=True asks for")
        return RunPlan(plan)
    with plan.policy():
        backbone = with_room(load_text_backbone(config.preset, plan.precision), config)
        width, parts = _sizes(config, sources, backbone, console)
        model = build_model(backbone, parts, config).model
        workload = workload_of(config, plan, width)
        others = functools.partial(_with_lora, backbone, config, parts, workload)
        return RunPlan(plan, plan_memory(model, backbone.blocks, workload, plan.kind, config, others))


def report_peft(config: FitConfig) -> PeftReport:
    """Says what the method of a config trains.

    Args:
        config: The options.

    Returns:
        The report; the head is that of two classes.

    Raises:
        ConfigError: When there is no method.
    """
    backbone = load_text_backbone(config.preset)
    built = build_model(backbone, tasks.get(str(config.task)).head_parts(config, None), config)
    if built.adapter is None:
        raise ConfigError("No method is named; pass for instance peft='lora'.")
    return peft_report(built.model, built.adapter)


def plan_memory(
    model: keras.Model,
    blocks: Sequence[Any],
    workload: Workload,
    kind: str,
    config: FitConfig,
    others: Callable[[], Mapping[str, MemoryEstimate]] = dict,
) -> MemoryPlan:
    """Estimates the memory of a step and what would lower it.

    Args:
        model: The whole model.
        blocks: Its blocks that can be recomputed.
        workload: Rows and width of the step.
        kind: Kind of device.
        config: The run's options.
        others: Gives estimates with options that need another model; called last, so it may change this one's layers.

    Returns:
        The estimate, with advice when it does not fit or nobody knows.
    """
    recomputing: Recomputing | None = (lambda: recompute(blocks)) if blocks else None
    free = available_memory(kind)
    if config.head_only:
        now = estimate_frozen(model, workload)
        return MemoryPlan(workload, now, _for_all_parts(free, now), [])
    with recompute(blocks) if workload.gradient_checkpointing else contextlib.nullcontext():
        now = estimate(model, workload)
        available = _for_all_parts(free, now)
        found = alternatives(model, workload, available, recomputing)
        found.update(others())
    return MemoryPlan(workload, now, available, advice(now, available, found))


def _with_lora(
    backbone: TextBackbone, config: FitConfig, parts: Sequence[HeadPart], workload: Workload
) -> Mapping[str, MemoryEstimate]:
    """Estimates LoRA in place of full training; nothing where the backbone has no layers for it, or another method."""
    if config.head_only or config.peft_method is not None:
        return {}
    trained = backbone.model.trainable_variables
    imagined = dataclasses.replace(config, peft="lora")
    try:
        built = build_model(backbone, parts, imagined)
        found = estimate(built.model, workload)
        if built.adapter is not None:
            built.adapter.remove()
    except ConfigError:
        return {}
    finally:
        for variable in trained:
            variable.trainable = True
    return {"peft='lora'": found}


def _for_all_parts(free: int | None, now: MemoryEstimate) -> int | None:
    """The weights are in memory already when it is asked how much is free."""
    return None if free is None else free + now.parameters


def _sizes(
    config: FitConfig, sources: Sources | None, backbone: TextBackbone, console: Console
) -> tuple[int, tuple[HeadPart, ...]]:
    """Returns the widest row in tokens and the heads."""
    task = tasks.get(str(config.task))
    if sources is None:
        return backbone.encoder(config.sequence_length).sequence_length, task.head_parts(config, None)
    data = split_data(config, sources, console)
    encoding = task.encoding(backbone, config, data.learned, config.sequence_length)
    rows = encoding.encode(data.examples[TRAIN], console, what=TRAIN)
    return int(rows.lengths.max()), task.head_parts(config, data.learned)
