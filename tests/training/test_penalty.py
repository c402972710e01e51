"""What a parameter-efficient method adds to a step: gradients of its penalty, and what it does after the update."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfft.training.gradient_rules import GradientRules


def test_gradients_of_a_penalty_are_added_where_they_belong() -> None:
    variables = [tf.Variable([1.0, 2.0]), tf.Variable([[3.0]])]
    rules = GradientRules(seed=0, penalty=lambda given: {1: 10.0 * given[1]})
    whole = rules.with_penalty([tf.constant([0.5, 0.5]), tf.constant([[1.0]])], variables)
    np.testing.assert_array_equal(whole[0], [0.5, 0.5])
    np.testing.assert_array_equal(whole[1], [[31.0]])


def test_without_a_penalty_gradients_stay_and_repeated_rows_add_up() -> None:
    rows = tf.IndexedSlices(tf.constant([[1.0], [2.0]]), tf.constant([1, 1]), tf.constant([3, 1]))
    whole = GradientRules(seed=0).with_penalty([rows], [tf.Variable(tf.zeros([3, 1]))])
    np.testing.assert_array_equal(whole[0], [[0.0], [3.0], [0.0]])
