"""What is said when another process of a cluster is gone."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from tfft.core.errors import TfftError, TrainingError
from tfft.distribute.plan import ExecutionPlan

#: What TensorFlow raises when another process of a cluster is gone.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
_TASK = re.compile(r"/job:(\w+)/replica:\d+/task:(\d+)")
#: How much of TensorFlow's own text is passed on.
_MOST_TEXT = 200


@contextlib.contextmanager
def lost_process_named(plan: ExecutionPlan) -> Iterator[None]:
    """Turns TensorFlow's error about a process that is gone into one line with a way out.

    A worker that serves a chief may go: another one computes its rows. The weights of a parameter server, and the part
    of a worker in a sum over all, cannot be replaced.

    Args:
        plan: Where the run is computed.

    Yields:
        Nothing.

    Raises:
        TrainingError: When another process was lost.
    """
    try:
        yield
    except (*_LOST, TfftError) as error:
        lost = _lost(error)
        if lost is None or (plan.strategy_name != "parameter_server" and plan.num_workers == 1):
            raise
        raise TrainingError(_said(str(lost), plan)) from error


def _lost(error: BaseException) -> BaseException | None:
    """Returns TensorFlow's error; also where one of ours, such as "the preset cannot be loaded", comes of it."""
    lost: BaseException | None = error if isinstance(error, _LOST) else None
    cause = error.__cause__
    if isinstance(cause, _LOST) and _TASK.search(str(cause)):
        lost = cause
    return lost


def _said(text: str, plan: ExecutionPlan) -> str:
    if plan.strategy_name == "parameter_server":
        found = _TASK.findall(text)
        kind, number = found[-1] if found else ("ps", "")
        who = f"{kind} {number}".strip()
        held = ", and the weights it held with it" if kind == "ps" else ""
        return (
            f"The process {who} of TF_CONFIG was lost{held}. Start the chief, workers and ps again with resume=True "
            "and the same output_dir."
        )
    return (
        f"Worker {plan.worker} lost contact with another of the {plan.num_workers} workers: "
        f"{text.split('}} ', 1)[-1].splitlines()[0][:_MOST_TEXT]}. Start all of them again with resume=True."
    )
