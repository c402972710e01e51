"""MLflow: the server of `MLFLOW_TRACKING_URI`, or a database file beside the run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from tfft.training.loggers.base import Kind, LoggedRun, RunLogger, register_logger, require

#: MLflow takes no longer values of parameters, and no more of them at once.
_LONGEST_VALUE = 500
_MOST_PARAMETERS = 100
_MOST_METRICS = 1000
#: A call takes tens of milliseconds, as long as several steps of a small model.
_SECONDS_BETWEEN_CALLS = 1.0


@register_logger("mlflow")
class MlflowLogger(RunLogger):
    """Logs to the experiment `tfft`, or what `MLFLOW_EXPERIMENT_NAME` says.

    A resumed run has the id it had. Steps that MLflow has already, from after the checkpoint, are not logged again,
    since it would keep both. The run that the caller may have open is left alone.
    """

    def __init__(self, run: LoggedRun) -> None:
        """Creates the logger.

        Args:
            run: The run to log.
        """
        require("mlflow")
        super().__init__(run)
        self._client: Any = None
        self._id = ""
        self._logged: dict[str, int] = {}
        self._waiting: list[Any] = []
        self._sent = 0.0

    def open(self, resumed: Any) -> None:
        """Begins a run at MLflow, or goes on with one.

        Args:
            resumed: What `position` gave; None to begin anew.
        """
        import mlflow
        from mlflow.entities import Param

        folder = self.run.folder.absolute()
        remote = os.environ.get("MLFLOW_TRACKING_URI")
        if not remote:
            folder.mkdir(parents=True, exist_ok=True)
        uri = remote or f"sqlite:///{folder / 'mlflow.db'}"
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        if resumed is not None:
            self._id = resumed["id"]
            self._client.update_run(self._id, status="RUNNING")
            for name in self._client.get_run(self._id).data.metrics:
                self._logged[name] = max(item.step for item in self._client.get_metric_history(self._id, name))
            return
        if not remote:
            self.run.console.say(f"mlflow: look at it with: mlflow ui --backend-store-uri {uri}")
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "tfft")
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            where = None if remote else (folder / "mlflow-artifacts").as_uri()
            number = self._client.create_experiment(name, artifact_location=where)
        else:
            number = experiment.experiment_id
        self._id = self._client.create_run(number, run_name=self.run.name).info.run_id
        options = [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in self.run.config.items()]
        for start in range(0, len(options), _MOST_PARAMETERS):
            self._client.log_batch(self._id, params=options[start : start + _MOST_PARAMETERS])

    def position(self) -> dict[str, str]:
        """Returns the id of the run."""
        return {"id": self._id}

    def write(self, kind: Kind, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        """Logs figures, those of steps together with others of the same second.

        Args:
            kind: Whether they are of a step or of an epoch.
            step: Optimizer steps taken.
            epoch: Number of the epoch, from 1.
            figures: Name to value.
        """
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        named = {**figures, "epoch": float(epoch)} if kind == "epoch" else figures
        self._waiting += [
            Metric(name, value, now, step) for name, value in named.items() if step > self._logged.get(name, -1)
        ]
        if kind == "epoch" or time.monotonic() - self._sent > _SECONDS_BETWEEN_CALLS:
            self.flush()

    def flush(self) -> None:
        """Sends the figures that wait."""
        self._sent = time.monotonic()
        while self._waiting:
            self._client.log_batch(self._id, metrics=self._waiting[:_MOST_METRICS])
            del self._waiting[:_MOST_METRICS]

    def close(self, *, failed: bool) -> None:
        """Ends the run.

        Args:
            failed: Marks it so.
        """
        self.flush()
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")
