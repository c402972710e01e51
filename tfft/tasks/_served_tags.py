"""The serving signature of token classification, in the graph."""

from __future__ import annotations

import tensorflow as tf

from tfft.core.learned import Learned
from tfft.core.tag_schemes import parse_tag
from tfft.encoding.words import ServedWords
from tfft.layers.tag_decoding import decode_tags, find_entities, potentials_of
from tfft.tasks._tags import tag_rules


def served_tags(outputs: tf.Tensor, context: ServedWords, learned: Learned) -> dict[str, tf.Tensor]:
    """Decodes the rows of a request.

    Args:
        outputs: What the model says of the rows, float of shape `(rows, lines, num_tags)`.
        context: The words.
        learned: The label vocabulary.

    Returns:
        The signature's tensors, as `TokenClassification.serve` names them.
    """
    labels, scheme = learned.labels, learned.settings["scheme"]
    rules = tag_rules(labels, scheme)
    below = len(labels) + 2 if learned.settings["head"] == "crf" else 0
    size = tf.shape(outputs)[1] - below
    scores, shared = outputs[:, :size], outputs[0, size:]
    # The rows of a text follow each other, and so do their words.
    flat = tf.boolean_mask(scores, tf.sequence_mask(context.items, size))
    lengths = tf.cast(context.words.row_lengths(), tf.int32)
    width = tf.maximum(tf.reduce_max(tf.concat([lengths, [0]], 0)), 1)
    ragged = tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)
    padded = ragged.to_tensor(0.0, shape=tf.stack([-1, width, len(labels)]))
    padded = tf.ensure_shape(padded, [None, None, len(labels)])
    decoded = decode_tags(potentials_of(padded, lengths, shared), rules)
    entities = find_entities(decoded, lengths, rules)
    kinds = tf.constant([tag.type for tag in (parse_tag(label, scheme) for label in labels) if tag is not None])
    words = tf.RaggedTensor.from_tensor(decoded.tags, lengths)
    chance = tf.RaggedTensor.from_tensor(tf.exp(tf.minimum(decoded.begin + decoded.end, 0.0)), lengths)
    starts, ends = (_picked(*pair) for pair in ((context.starts, entities.first), (context.ends, entities.last)))
    texts = tf.gather(context.texts, starts.value_rowids())
    pieces = tf.strings.substr(texts, starts.flat_values, ends.flat_values - starts.flat_values, unit="UTF8_CHAR")
    found = {
        "word": context.words,
        "tag": words.with_flat_values(tf.gather(tf.constant(list(labels)), words.flat_values)),
        "word_start": context.starts,
        "word_end": context.ends,
        "word_probability": chance,
        "entity_text": starts.with_flat_values(pieces),
        "entity_type": starts.with_flat_values(tf.gather(kinds, entities.tag.flat_values)),
        "entity_start": starts,
        "entity_end": ends,
        "entity_probability": entities.probability,
    }
    return {name: values.to_tensor() for name, values in found.items()}


def _picked(values: tf.RaggedTensor, places: tf.RaggedTensor) -> tf.RaggedTensor:
    """Returns the values of words at some places."""
    begins = tf.gather(tf.cast(values.row_starts(), tf.int32), tf.cast(places.value_rowids(), tf.int32))
    return places.with_flat_values(tf.gather(values.flat_values, begins + places.flat_values))
