"""Choosing words, letters or tokens at random, so many of each row."""

from __future__ import annotations

import tensorflow as tf

from tfft.augment._words import Layout, selection, sums


def shuffle(rows: tf.Tensor, seed: tf.Tensor, later: tf.Tensor | None = None) -> tf.Tensor:
    """Shuffles items within their rows.

    Args:
        rows: Row of each item, int64 `(items,)`.
        seed: Int32 `(2,)`.
        later: Items that come after all others of their row, bool `(items,)`; none when None.

    Returns:
        The old places of the shuffled items, row after row, int64 `(items,)`.
    """
    # Float64 holds the number of the row and a random number side by side.
    keys = 2 * tf.cast(rows, tf.float64) + tf.random.stateless_uniform(tf.shape(rows), seed, dtype=tf.float64)
    if later is not None:
        keys += tf.cast(later, tf.float64)
    return tf.cast(tf.argsort(keys), tf.int64)


def random_order(eligible: tf.Tensor, where: Layout, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Shuffles the items of each row, the eligible ones first.

    Args:
        eligible: Bool `(items,)`.
        where: Where the items stand.
        seed: Int32 `(2,)`.

    Returns:
        The old places of the shuffled items, row after row, and the rank of each in its row; int64 `(items,)` both.
    """
    order = shuffle(where.rows, seed, later=~eligible)
    return order, tf.range(tf.size(order, tf.int64)) - tf.gather(where.starts, where.rows)


def amounts(lengths: tf.Tensor, rate: float, most: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns how many items of each row are chosen: `rate` of them on average, at least one, and at most `most`.

    Args:
        lengths: Items of each row, int64 `(batch,)`.
        rate: Share that is chosen. Shares of an item are drawn: 12 items at 0.2 are 2 or 3.
        most: Most that can be chosen, int64 `(batch,)`; where it is 0, none is.
        seed: Int32 `(2,)`.

    Returns:
        Int64 `(batch,)`.
    """
    draws = tf.random.stateless_uniform(tf.shape(lengths), seed, dtype=tf.float64)
    wanted = tf.cast(tf.floor(tf.cast(lengths, tf.float64) * rate + draws), tf.int64)
    return tf.minimum(tf.maximum(wanted, 1), most)


def back_in_place(values: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """Undoes a shuffle: what was found for the shuffled items, at the places of the items."""
    return tf.gather(values, tf.math.invert_permutation(order))


def pick(eligible: tf.Tensor, where: Layout, rate: float, seed: tf.Tensor, most: tf.Tensor | None = None) -> tf.Tensor:
    """Chooses items of each row: `rate` of all its items on average, at least one, as far as there are eligible ones.

    Args:
        eligible: Items that may be chosen, bool `(items,)`.
        where: Where the items stand.
        rate: Share of the row's items that is chosen.
        seed: Int32 `(2,)`.
        most: Most that may be chosen of each row, int64 `(batch,)`; all eligible ones when None.

    Returns:
        Bool `(items,)`.
    """
    order_seed, amount_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    available = sums(eligible, where)
    limit = available if most is None else tf.minimum(available, most)
    wanted = amounts(where.lengths, rate, limit, amount_seed)
    order, rank = random_order(eligible, where, order_seed)
    return back_in_place(rank < tf.gather(wanted, where.rows), order)


def draw(eligible: tf.Tensor, where: Layout, rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws an eligible item of a row, any number of times and each time out of all.

    Args:
        eligible: Items that may be drawn, bool `(items,)`.
        where: Where the items stand.
        rows: The row of each draw, int64 `(draws,)`; each has an eligible item.
        seed: Int32 `(2,)`.

    Returns:
        The place of each drawn item, int64 `(draws,)`.
    """
    places, among = selection(eligible, where)
    return tf.gather(places, tf.gather(among.starts, rows) + random_below(tf.gather(among.lengths, rows), seed))


def spread(available: tf.Tensor, counts: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses so many items of each row, spread over it: systematic sampling, which needs no sorting of all items.

    The row is cut into as many parts as items are wanted, beginning at a random place, and one item of each is drawn:
    each item is as likely as any other.

    Args:
        available: Items of each row, int64 `(batch,)`.
        counts: How many of them are chosen, at most as many, int64 `(batch,)`.
        seed: Int32 `(2,)`.

    Returns:
        Row of each chosen item, and its place in the row, in ascending order; int64 `(chosen,)` both.
    """
    start_seed, place_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    rows = tf.repeat(tf.range(tf.size(counts, tf.int64)), counts)
    part = tf.range(tf.size(rows, tf.int64)) - tf.gather(tf.cumsum(counts, exclusive=True), rows)
    items, parts = tf.gather(available, rows), tf.gather(counts, rows)
    first, end = part * items // parts, (part + 1) * items // parts
    starts = tf.gather(random_below(available, start_seed), rows)
    places = tf.math.floormod(first + random_below(end - first, place_seed) + starts, items)
    # Where the parts went round the end of the row, the order is lost.
    longest = tf.reduce_max(tf.concat([available, [1]], 0))
    ordered = tf.sort(rows * longest + places)
    return ordered // longest, tf.math.floormod(ordered, longest)


def random_below(limits: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws int64 numbers from 0 to below each limit; 0 where that is 0."""
    draws = tf.random.stateless_uniform(tf.shape(limits), seed, dtype=tf.float64)
    return tf.minimum(tf.cast(draws * tf.cast(limits, tf.float64), tf.int64), tf.maximum(limits - 1, 0))
