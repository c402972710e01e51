"""R-Drop: two passes with different dropout must agree (Wu et al. 2021)."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.objectives.base import Forward, RowLoss, register_objective

#: The divergence is between distributions over at least so many classes.
_FEWEST_CLASSES = 2


@register_objective("r_drop")
@dataclasses.dataclass(frozen=True)
class RDrop:
    """The mean loss of two passes, plus `alpha` times the mean of their two Kullback-Leibler divergences.

    Of row `i`, with distributions `p` and `q` of the two passes:
    `(loss(p) + loss(q)) / 2 + alpha * (KL(p || q) + KL(q || p)) / 2`. Equation 4 of the paper adds the two losses up;
    its authors' programs take the mean, as here, so that the loss compares with that of a run without R-Drop. Both
    passes get gradients. Weights of rows apply to both parts.

    Attributes:
        alpha: Weight of the divergence.
    """

    alpha: float

    def row_losses(self, forward: Forward, inputs: Any, targets: Any, loss: RowLoss) -> tuple[Any, Any]:
        """Computes the loss of each row.

        Args:
            forward: Runs the model in training mode.
            inputs: The model's inputs; first axis: rows.
            targets: What outputs are compared with; first axis: rows.
            loss: The task's loss.

        Returns:
            Losses of shape `(rows,)` or `(rows, tokens)`, and the outputs of the first pass.

        Raises:
            ConfigError: When outputs are not the logits of classes, one distribution a row or token.
        """
        first, second = forward(inputs, 0), forward(inputs, 1)
        losses = 0.5 * (loss(targets, first) + loss(targets, second))
        shape = getattr(first, "shape", None)
        if shape is None or len(shape) != len(losses.shape) + 1 or shape[-1] < _FEWEST_CLASSES:
            raise ConfigError(
                f"r_drop compares distributions over classes; this task's outputs have shape {shape}, and its loss "
                f"{tuple(losses.shape)}. Use r_drop=0."
            )
        return losses + self.alpha * tf.cast(symmetric_divergence(first, second), losses.dtype), first


def symmetric_divergence(first: Any, second: Any) -> Any:
    """Returns `(KL(p || q) + KL(q || p)) / 2` for logits of the same shape, over the last axis, in float32."""
    log_p, log_q = (tf.nn.log_softmax(tf.cast(logits, tf.float32)) for logits in (first, second))
    # The sum of both divergences, whose entropies cancel out.
    return 0.5 * tf.reduce_sum((tf.exp(log_p) - tf.exp(log_q)) * (log_p - log_q), axis=-1)
