"""Texts with masks against Hugging Face's tokenizers, whose mask token takes the white space before it."""

from __future__ import annotations

import pytest
import tensorflow as tf
import tokenizers
from offset_cases import of

from tfft.layers.readable_tokens import readable_tokens
from tfft.layers.text_encoder import TextEncoder
from tfft.layers.texts_with_masks import encode_with_masks

#: A case to its mask token.
MASKS = {"uncased": "[MASK]", "roberta": "<mask>", "xlm_roberta": "<mask>"}
TEXTS = [
    "the <mask> was dull.",
    "<mask> a film",
    "a film <mask>",
    "two <mask><mask> here",
    "two <mask> <mask> here",
    "no mask at all",
    "<mask>",
    "many   spaces  <mask>, and a comma",
    "half<mask>word",
]
#: Making these tokenizers takes seconds.
SLOW = pytest.mark.slow
START, END, LONGEST = 7, 8, 12


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW if name != "uncased" else ()) for name in MASKS])
def test_ids_are_those_of_hugging_face_with_a_mask_token(name: str) -> None:
    case = of(name)
    # A copy: the token is added to it.
    reference = tokenizers.Tokenizer.from_str(case.reference.to_str())
    reference.add_special_tokens([tokenizers.AddedToken(MASKS[name], lstrip=True, normalized=False)])
    mask_id = reference.token_to_id(MASKS[name])
    encoder = TextEncoder(case.graph, start_ids=[START], end_ids=[END], pad_id=0, sequence_length=LONGEST)
    for written in ("<mask>", "[MASK]"):
        texts = [text.replace("<mask>", written) for text in TEXTS]
        ids, lengths = encode_with_masks(encoder, tf.constant(texts), pattern=r"\[MASK\]|<mask>", mask_id=mask_id)
        own = [text.replace("<mask>", MASKS[name]) for text in TEXTS]
        expected = [reference.encode(text, add_special_tokens=False).ids for text in own]
        assert lengths.numpy().tolist() == [len(row) + 2 for row in expected]
        assert ids.to_list() == [[START, *row[: LONGEST - 2], END] for row in expected]


def test_odd_texts_and_none(tiny_preset: str) -> None:
    from tfft.backbones.keras_hub import load_text_backbone

    backbone = load_text_backbone(tiny_preset)
    encoder, mask = backbone.encoder(None), int(backbone.tokenizer.mask_token_id)
    start, end = backbone.start_ids[0], backbone.end_ids[0]
    texts = tf.constant(["", " ", "[MASK", "a\0b [M\0ASK]", "\0"])
    ids, _ = encode_with_masks(encoder, texts, pattern=r"\[MASK\]", mask_id=mask)
    plain, _ = encoder.encode(texts)
    assert ids.to_list()[:3] == plain.to_list()[:3]
    assert ids.to_list()[3][-2:] == [mask, end], "what a NUL stands in is read without it, as everywhere"
    assert ids.to_list()[4] == [start, end]
    ids, lengths = encode_with_masks(encoder, tf.zeros([0], tf.string), pattern=r"\[MASK\]", mask_id=mask)
    assert (ids.to_list(), lengths.numpy().tolist()) == ([], [])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("uncased", "cafe the", ["cafe", "the"]),
        pytest.param("roberta", "é\n中 x", None, marks=SLOW),
        pytest.param("xlm_roberta", "é 中 x", None, marks=SLOW),
    ],
)
def test_tokens_read_as_their_text(name: str, text: str, expected: list[str] | None) -> None:
    case = of(name)
    readable = readable_tokens(case.layer)
    found = [readable[number] for number in case.graph(tf.constant([text])).to_list()[0]]
    if expected is not None:
        assert found == expected
    elif "\ufffd" not in "".join(found):
        assert "".join(found).strip() == text
    if name != "uncased":  # whose vocabulary has all characters
        assert all("\u0120" not in token and "\u2581" not in token for token in readable)
