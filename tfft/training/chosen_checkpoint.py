"""The checkpoint from which all workers go on: the one that the chief chose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfft.core.errors import ArtifactError, TrainingError, name_list
from tfft.distribute.exchange import exchange
from tfft.distribute.plan import ExecutionPlan
from tfft.training.checkpoint_files import Checkpoint, fingerprint, folder_name, read_checkpoint

#: What the chief tells in place of a step.
_NONE, _FAILED = 0, -1


@contextlib.contextmanager
def failure_told(plan: ExecutionPlan) -> Iterator[None]:
    """Tells the other workers, who wait for the chief's choice, when it ends in an error.

    Args:
        plan: Where the run is computed.

    Yields:
        Nothing.
    """
    try:
        yield
    except Exception:
        exchange(plan, (_FAILED, 0))
        raise


def tell_choice(found: Checkpoint | None, folder: Path | None, plan: ExecutionPlan) -> None:
    """Tells the other workers which checkpoint the chief goes on from, and waits until they have read it.

    Args:
        found: The checkpoint; None to begin at the start.
        folder: Folder of the checkpoints.
        plan: Where the run is computed.

    Raises:
        TrainingError: When another worker cannot read it.
    """
    if found is None or folder is None:
        exchange(plan, (_NONE, 0))
        return
    exchange(plan, (found.step, fingerprint(folder / folder_name(found.step))))
    _check_all_have_read(found.step, "", plan)


def take_choice(folder: Path | None, plan: ExecutionPlan) -> Checkpoint | None:
    """Waits until the chief has chosen, and reads what it chose.

    Args:
        folder: Folder of the checkpoints, as this worker sees it; None when it was given none.
        plan: Where the run is computed.

    Returns:
        The checkpoint; None to begin at the start.

    Raises:
        TrainingError: When this worker or another cannot read it, or the chief failed.
    """
    step, digest = exchange(plan, (_NONE, 0))[0].tolist()
    if step == _FAILED:
        raise TrainingError("The chief could not open its checkpoints and has ended; what was wrong is in its log.")
    if step == _NONE:
        return None
    found, problem = _read(folder, step, digest)
    _check_all_have_read(step, problem, plan)
    return found


def _read(folder: Path | None, step: int, digest: int) -> tuple[Checkpoint | None, str]:
    """Returns a checkpoint, or what keeps this worker from reading it."""
    if folder is None:
        return None, "this worker was given no output_dir, or no checkpoint_steps and checkpoint_minutes"
    chosen = folder / folder_name(step)
    try:
        if fingerprint(chosen) != digest:
            return None, f"{chosen} is another checkpoint of the same step"
        return read_checkpoint(chosen), ""
    except ArtifactError as error:
        return None, f"{chosen}: {error}"


def _check_all_have_read(step: int, problem: str, plan: ExecutionPlan) -> None:
    without = np.flatnonzero(exchange(plan, (int(bool(problem)),))[:, 0]).tolist()
    if not without:
        return
    known = f"here {problem.rstrip('.')}" if problem else "why is in their logs"
    raise TrainingError(
        f"The chief goes on after step {step:,}, whose checkpoint these workers cannot read: "
        f"{name_list([str(worker) for worker in without])} ({known}). Give all workers the same output_dir, on a file "
        "system that they share, and start them again."
    )
