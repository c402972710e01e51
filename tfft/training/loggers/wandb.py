"""Weights & Biases; without an API key the run is kept on disk, to be sent later."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlparse

from tfft.training.loggers.base import Kind, LoggedRun, RunLogger, register_logger, require


@register_logger("wandb")
class WandbLogger(RunLogger):
    """Logs to the project `tfft`, or what `WANDB_PROJECT` says; `WANDB_MODE` decides where, if set.

    A resumed run has the id it had. Steps that W&B has already, from after the checkpoint, are not sent again. Offline
    a resumed run is a second folder of the same id: `wandb sync --append` joins them.
    """

    def __init__(self, run: LoggedRun) -> None:
        """Creates the logger.

        Args:
            run: The run to log.
        """
        require("wandb")
        super().__init__(run)
        self._handle: Any = None

    def open(self, resumed: Any) -> None:
        """Begins a run at W&B, or goes on with one.

        Args:
            resumed: What `position` gave; None to begin anew.
        """
        import wandb

        self.run.folder.mkdir(parents=True, exist_ok=True)
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
        if mode == "offline":
            self.run.console.say(
                f"wandb: kept offline; send it with: wandb sync {self.run.folder / 'wandb' / 'offline-run-*'}"
            )
        self._handle = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "tfft"),
            name=self.run.name,
            id=None if resumed is None else resumed["id"],
            # Offline there is nobody to ask, and wandb warns.
            resume=None if resumed is None or mode != "online" else "allow",
            dir=str(self.run.folder),
            config=dict(self.run.config),
            mode=mode,
            reinit="create_new",  # a run that the caller has open stays open
            settings=wandb.Settings(console="off", quiet=True),
        )

    def position(self) -> dict[str, str]:
        """Returns the id of the run."""
        return {"id": self._handle.id}

    def write(self, kind: Kind, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        """Logs figures.

        Args:
            kind: Whether they are of a step or of an epoch.
            step: Optimizer steps taken.
            epoch: Number of the epoch, from 1.
            figures: Name to value.
        """
        if step >= self._handle.step:
            self._handle.log({"epoch": epoch, **figures}, step=step)

    def close(self, *, failed: bool) -> None:
        """Ends the run.

        Args:
            failed: Marks it so.
        """
        self._handle.finish(exit_code=int(failed))


def _has_key() -> bool:
    """Tells whether W&B would find an API key: in the environment, or where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
