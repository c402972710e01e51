"""Which checkpoints a run writes, and which it may go on from."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, name_list
from tfft.distribute.plan import ExecutionPlan
from tfft.training.checkpoint import CheckpointStore, CheckpointTimer, latest_checkpoint
from tfft.training.checkpoint_files import Checkpoint
from tfft.training.checkpoint_folder import checkpoint_directory
from tfft.training.loop import Checkpoints

#: Options that may differ between the interrupted run and the one that goes on: they do not touch the result.
_FREE = {"resume", "overwrite", "output_dir", "checkpoint_steps", "checkpoint_minutes", "keep_checkpoints", "cache_dir"}


@contextlib.contextmanager
def open_checkpoints(
    config: FitConfig, identity: Mapping[str, Any], plan: ExecutionPlan, console: Console
) -> Iterator[Checkpoints]:
    """Opens the checkpoints of a run.

    Args:
        config: The run's options.
        identity: What else decides the result, as plain data: data, versions, number of replicas.
        plan: Only the chief writes.
        console: Where it is said what the run goes on from.

    Yields:
        The checkpoints.

    Raises:
        ConfigError: When the interrupted run was another one.
    """
    timer = CheckpointTimer(config.checkpoint_steps, config.checkpoint_minutes)
    if config.output_dir is None or (config.checkpoint_steps is None and config.checkpoint_minutes is None):
        yield Checkpoints(None, timer, None)
        return
    folder = checkpoint_directory(config.output_dir)
    same = {**_deciding(config), **identity}
    if not plan.is_chief:
        found = latest_checkpoint(folder, console) if config.resume and folder.is_dir() else None
        yield _checkpoints(None, found, same, config, console)
        return
    try:
        with CheckpointStore(folder, config.keep_checkpoints, console) as store:
            if not config.resume:
                store.clear()
            yield _checkpoints(store, store.latest() if config.resume else None, same, config, console)
    finally:
        if folder.is_dir() and not any(folder.glob("step-*")):
            shutil.rmtree(folder, ignore_errors=True)  # nothing but its lock


def discard_checkpoints(config: FitConfig, console: Console) -> None:
    """Deletes the checkpoints of a run whose result is saved."""
    if config.output_dir is not None and checkpoint_directory(config.output_dir).is_dir():
        CheckpointStore(checkpoint_directory(config.output_dir), config.keep_checkpoints, console).remove()


def _checkpoints(
    store: CheckpointStore | None,
    found: Checkpoint | None,
    identity: dict[str, Any],
    config: FitConfig,
    console: Console,
) -> Checkpoints:
    timer = CheckpointTimer(config.checkpoint_steps, config.checkpoint_minutes, step=0 if found is None else found.step)
    if found is None:
        if config.resume:
            console.say("resume: no checkpoint was found; beginning from the start")
        return Checkpoints(store, timer, None, identity)
    state = dict(found.state)
    before = state.pop("identity")
    other = sorted(name for name in {*before, *identity} if before.get(name) != identity.get(name))
    if other:
        raise ConfigError(
            f"The interrupted run differs in {name_list(other)}, so this one cannot go on from its checkpoint. Use the "
            "same data and options, or begin anew with overwrite=True."
        )
    console.say(f"resume: going on after step {found.step:,}")
    return Checkpoints(store, timer, (dict(found.arrays), state), identity)


def _deciding(config: FitConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name not in _FREE}
