"""The recurrent part of an LSTM over whole sequences, with a backward pass of its own.

What the gates get from the inputs is projected before, in one matrix product for all steps. The backward pass is
written down for the same reason: the gradient of the recurrent kernel is one product over all steps as well, where
TensorFlow would add up one of each step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class LstmState(NamedTuple):
    """State of an LSTM.

    Attributes:
        hidden: Its output, float `(batch, units)`.
        cell: Its memory, float `(batch, units)`.
    """

    hidden: tf.Tensor
    cell: tf.Tensor


class _Kept(NamedTuple):
    """What the backward pass takes from the forward pass, one entry for each step."""

    entry: tf.TensorArray
    forget: tf.TensorArray
    candidate: tf.TensorArray
    exit: tf.TensorArray
    squashed: tf.TensorArray
    cell: tf.TensorArray
    hidden: tf.TensorArray


class _Gates(NamedTuple):
    entry: tf.Tensor
    forget: tf.Tensor
    candidate: tf.Tensor
    exit: tf.Tensor


def lstm_step(gates: tf.Tensor, cell: tf.Tensor) -> LstmState:
    """Computes one step of an LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    Args:
        gates: Input gate, forget gate, candidate and output gate before their activations, `(batch, 4 * units)`.
        cell: Memory before the step, `(batch, units)`.

    Returns:
        The state after the step.
    """
    return _step(gates, cell)[2]


def lstm_recurrence(
    projected: tf.Tensor,
    kernel: tf.Tensor,
    initial: LstmState,
    *,
    mask: tf.Tensor | None = None,
    keep: tf.Tensor | None = None,
    go_backwards: bool = False,
) -> tuple[tf.Tensor, LstmState]:
    """Runs an LSTM over sequences. Gradients of gradients are not supported.

    Args:
        projected: The part of the gates that comes from the inputs, with the bias, `(length, batch, 4 * units)`.
        kernel: Recurrent kernel, `(units, 4 * units)`.
        initial: State before the first step.
        mask: Steps that count, bool `(length, batch)`; the others carry the state on. None: all of them.
        keep: Factor of the hidden state where it enters the gates, `(batch, units)`, the same in each step. None: 1.
        go_backwards: Whether the last step comes first. Outputs stay at the place of their step.

    Returns:
        Outputs, `(length, batch, units)`, and the state after the last step.
    """
    steps = None if mask is None else mask[..., tf.newaxis]

    @tf.custom_gradient
    def run(projected: tf.Tensor, kernel: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor) -> Any:
        last, kept = _forward(projected, kernel, LstmState(hidden, cell), steps, keep, go_backwards)
        outputs = kept.hidden.stack()

        def backward(of_outputs: tf.Tensor, of_hidden: tf.Tensor, of_cell: tf.Tensor) -> tuple[tf.Tensor, ...]:
            of_state = LstmState(of_hidden, of_cell)
            of_gates, of_initial = _backward(of_outputs, of_state, kept, kernel, cell, steps, keep, go_backwards)
            first = hidden[tf.newaxis]
            before = tf.concat([outputs[1:], first] if go_backwards else [first, outputs[:-1]], axis=0)
            if keep is not None:
                before *= keep
            of_kernel = tf.matmul(_rows(before), _rows(of_gates), transpose_a=True)
            return of_gates, of_kernel, *of_initial

        return (outputs, *last), backward

    outputs, hidden, cell = run(projected, kernel, *initial)
    return outputs, LstmState(hidden, cell)


def _step(gates: tf.Tensor, cell: tf.Tensor) -> tuple[_Gates, tf.Tensor, LstmState]:
    entry, forget, candidate, exit_ = tf.split(gates, 4, axis=-1)
    opened = _Gates(tf.sigmoid(entry), tf.sigmoid(forget), tf.tanh(candidate), tf.sigmoid(exit_))
    cell = opened.forget * cell + opened.entry * opened.candidate
    squashed = tf.tanh(cell)
    return opened, squashed, LstmState(opened.exit * squashed, cell)


def _rows(values: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, [-1, values.shape[-1]])


def _forward(
    projected: tf.Tensor,
    kernel: tf.Tensor,
    initial: LstmState,
    mask: tf.Tensor | None,
    keep: tf.Tensor | None,
    go_backwards: bool,
) -> tuple[LstmState, _Kept]:
    length = tf.shape(projected)[0]

    def body(count: tf.Tensor, state: LstmState, kept: _Kept) -> tuple[tf.Tensor, LstmState, _Kept]:
        place = length - 1 - count if go_backwards else count
        entering = state.hidden if keep is None else state.hidden * keep
        gates, squashed, new = _step(projected[place] + tf.matmul(entering, kernel), state.cell)
        if mask is not None:
            new = LstmState(*(tf.where(mask[place], after, before) for after, before in zip(new, state, strict=True)))
        values = (*gates, squashed, new.cell, new.hidden)
        written = _Kept(*(array.write(place, value) for array, value in zip(kept, values, strict=True)))
        return count + 1, new, written

    empty = _Kept(*(_array(length, initial.cell) for _ in _Kept._fields))
    _, last, kept = tf.while_loop(
        lambda count, *_: count < length, body, (0, initial, empty), maximum_iterations=length
    )
    return last, kept


def _backward(
    of_outputs: tf.Tensor,
    of_last: LstmState,
    kept: _Kept,
    kernel: tf.Tensor,
    first_cell: tf.Tensor,
    mask: tf.Tensor | None,
    keep: tf.Tensor | None,
    go_backwards: bool,
) -> tuple[tf.Tensor, LstmState]:
    length = tf.shape(of_outputs)[0]
    cells = kept.cell.stack()
    first = first_cell[tf.newaxis]
    before = tf.concat([cells[1:], first] if go_backwards else [first, cells[:-1]], axis=0)

    def body(
        count: tf.Tensor, later: LstmState, written: tf.TensorArray
    ) -> tuple[tf.Tensor, LstmState, tf.TensorArray]:
        place = count if go_backwards else length - 1 - count
        of_hidden, of_cell = later.hidden + of_outputs[place], later.cell
        passed = None
        if mask is not None:
            counts = mask[place]
            nothing = tf.zeros([], of_cell.dtype)
            passed = LstmState(tf.where(counts, nothing, of_hidden), tf.where(counts, nothing, of_cell))
            of_hidden, of_cell = tf.where(counts, of_hidden, nothing), tf.where(counts, of_cell, nothing)
        entry, forget, candidate, exit_ = (
            array.read(place) for array in (kept.entry, kept.forget, kept.candidate, kept.exit)
        )
        squashed = kept.squashed.read(place)
        of_cell += tf.raw_ops.TanhGrad(y=squashed, dy=of_hidden * exit_)
        of_gates = tf.concat(
            [
                tf.raw_ops.SigmoidGrad(y=entry, dy=of_cell * candidate),
                tf.raw_ops.SigmoidGrad(y=forget, dy=of_cell * before[place]),
                tf.raw_ops.TanhGrad(y=candidate, dy=of_cell * entry),
                tf.raw_ops.SigmoidGrad(y=exit_, dy=of_hidden * squashed),
            ],
            axis=-1,
        )
        of_entering = tf.matmul(of_gates, kernel, transpose_b=True)
        earlier = LstmState(of_entering if keep is None else of_entering * keep, of_cell * forget)
        if passed is not None:
            earlier = LstmState(earlier.hidden + passed.hidden, earlier.cell + passed.cell)
        return count + 1, earlier, written.write(place, of_gates)

    empty = tf.TensorArray(
        of_outputs.dtype, length, element_shape=(*of_outputs.shape[1:-1], kernel.shape[-1]), clear_after_read=False
    )
    _, of_initial, written = tf.while_loop(
        lambda count, *_: count < length, body, (0, of_last, empty), maximum_iterations=length
    )
    return written.stack(), of_initial


def _array(length: tf.Tensor, like: tf.Tensor) -> tf.TensorArray:
    return tf.TensorArray(like.dtype, length, element_shape=like.shape, clear_after_read=False)
