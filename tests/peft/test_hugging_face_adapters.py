"""LoRA adapters from and to Hugging Face PEFT: the same outputs on both sides, or a typed error."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import safetensors.numpy
from hugging_face import reference_python
from tiny_bases import tiny
from tiny_training import added, shaken

from tfft.core.errors import ArtifactError, ConfigError
from tfft.peft.base import Adapter, Base, freeze_base
from tfft.peft.hugging_face import add_hugging_face, export_hugging_face
from tfft.peft.ia3 import IA3Config
from tfft.peft.lora import LoRAConfig

WORDS, HIDDEN = 30, 16
ENCODER = {
    "vocab_size": WORDS,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    # What KerasHub computes with, whatever a checkpoint says.
    "layer_norm_eps": 1e-12,
}
DISTILLED = {
    "vocab_size": WORDS,
    "dim": HIDDEN,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 32,
    "max_position_embeddings": 40,
}
#: It has segments in Hugging Face alone, where checkpoints have one, with zeros.
ROBERTA = {**ENCODER, "pad_token_id": 1, "layer_norm_eps": 1e-5, "type_vocab_size": 1}
#: Four heads for queries, two for keys and values.
DECODER = {
    **ENCODER,
    "rms_norm_eps": 1e-6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
QUERY = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"]}
BERT_ALL = ["query", "key", "value", "dense", "word_embeddings", "token_type_embeddings"]
LLAMA_ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens"]
WORD_EMBEDDINGS = "base_model.model.embeddings.word_embeddings.weight"
PATTERNS = {"rank_pattern": {"layer.1.*query": 2}, "alpha_pattern": {"layer.0.*query": 3, "value": 5}}
FAMILIES: list[dict[str, Any]] = [
    {
        "name": "bert",
        "config": "BertConfig",
        "model": "BertModel",
        "inside": "",
        "options": {**ENCODER, "hidden_act": "gelu_pytorch_tanh"},
        "cases": {
            "plain": QUERY,
            "all": {"r": 3, "lora_alpha": 5, "use_rslora": True, "bias": "all", "target_modules": BERT_ALL},
            "own-biases": {**QUERY, "bias": "lora_only"},
            "patterns": {**QUERY, **PATTERNS},
            "one-layer": {**QUERY, "layers_to_transform": [1], "layers_pattern": "layer"},
        },
    },
    {
        "name": "bert-head",
        "config": "BertConfig",
        "model": "BertForSequenceClassification",
        "inside": "bert",
        "options": {**ENCODER, "hidden_act": "gelu_pytorch_tanh"},
        "cases": {"plain": QUERY},
    },
    {
        "name": "roberta",
        "config": "RobertaConfig",
        "model": "RobertaForMaskedLM",
        "inside": "roberta",
        "options": ROBERTA,
        "cases": {
            "plain": QUERY,
            "all": {"r": 3, "target_modules": r".*\.(query|key|value|attention.output.dense|word_embeddings)"},
        },
    },
    {
        "name": "xlm-roberta",
        "config": "XLMRobertaConfig",
        "model": "XLMRobertaForMaskedLM",
        "inside": "roberta",
        "options": ROBERTA,
        "cases": {"plain": QUERY},
    },
    {
        "name": "distilbert",
        "config": "DistilBertConfig",
        "model": "DistilBertForMaskedLM",
        "inside": "distilbert",
        "options": DISTILLED,
        "cases": {"all": {"r": 3, "target_modules": ["q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"]}},
    },
    {
        "name": "llama",
        "config": "LlamaConfig",
        "model": "LlamaForCausalLM",
        "inside": "model",
        "options": DECODER,
        "cases": {
            "plain": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
            "all": {"r": 3, "lora_alpha": 7, "target_modules": LLAMA_ALL},
        },
    },
    {
        "name": "qwen2",
        "config": "Qwen2Config",
        "model": "Qwen2ForCausalLM",
        "inside": "model",
        "options": DECODER,
        "cases": {"biases": {"r": 3, "target_modules": ["q_proj", "k_proj", "v_proj"], "bias": "lora_only"}},
    },
]
CASES = [(family["name"], case) for family in FAMILIES for case in family["cases"]]
BACKBONES = {
    "bert": keras_hub.models.BertBackbone,
    "bert-head": keras_hub.models.BertBackbone,
    "roberta": keras_hub.models.RobertaBackbone,
    "xlm-roberta": keras_hub.models.XLMRobertaBackbone,
    "distilbert": keras_hub.models.DistilBertBackbone,
    "llama": keras_hub.models.Llama3Backbone,
    "qwen2": keras_hub.models.QwenBackbone,
}


def run_reference(task: str, folder: Path) -> dict[str, np.ndarray]:
    script = Path(__file__).with_name("run_adapter_files.py")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""}
    command = [reference_python(), str(script), task, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(folder / f"{task}.npz"))


def loaded(folder: Path, family: str) -> Base:
    """Loads a model of Hugging Face's as KerasHub does."""
    model = BACKBONES[family].from_preset(str(folder / family))
    freeze_base(model)
    return Base(model, tuple(layer for layer in model.layers if layer.name.startswith("transformer_layer")), HIDDEN)


def token_vectors(base: Base, batch: dict[str, np.ndarray]) -> np.ndarray:
    inputs = {"token_ids": batch["ids"], "padding_mask": batch["mask"], "segment_ids": np.zeros_like(batch["ids"])}
    outputs = base.model({name: inputs[name] for name in base.model.input})
    outputs = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
    return np.asarray(keras.ops.convert_to_numpy(outputs))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The folder with models and adapters, a batch, and what Hugging Face computes for it."""
    folder = tmp_path_factory.mktemp("hugging_face")
    (folder / "job.json").write_text(json.dumps({"families": FAMILIES}))
    mask = np.array([[1] * 7, [1] * 5 + [0] * 2, [1] * 3 + [0] * 4])
    # No padding id among the tokens: RoBERTa counts positions by it.
    batch: dict[str, Any] = {"ids": np.random.default_rng(0).integers(2, WORDS, mask.shape), "mask": mask}
    batch["ids"][mask == 0] = 1
    np.savez(folder / "batch.npz", **batch)
    return folder, batch, run_reference("make", folder)


def check_alike(ours: np.ndarray, theirs: np.ndarray, mask: np.ndarray) -> None:
    np.testing.assert_allclose(ours[mask == 1], theirs[mask == 1], atol=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize(("family", "case"), CASES, ids=["-".join(pair) for pair in CASES])
def test_an_adapter_of_hugging_face_gives_the_same_outputs(made: Any, family: str, case: str) -> None:
    folder, batch, theirs = made
    base = loaded(folder, family)
    plain = token_vectors(base, batch)
    check_alike(plain, theirs[family], batch["mask"])
    adapter = add_hugging_face(base, folder / f"{family}-{case}" / "theirs")
    ours = token_vectors(base, batch)
    check_alike(ours, theirs[f"{family}-{case}"], batch["mask"])
    assert np.abs(ours - plain).max() > 0.05
    prefix = next(item["inside"] for item in FAMILIES if item["name"] == family)
    export_hugging_face(folder / f"{family}-{case}" / "ours", adapter, prefix=prefix)


@pytest.mark.reference
def test_hugging_face_loads_what_was_written(made: Any) -> None:
    folder, batch, theirs = made
    for family, case in CASES:
        ours = folder / f"{family}-{case}" / "ours"
        if not ours.exists():
            prefix = next(item["inside"] for item in FAMILIES if item["name"] == family)
            adapter = add_hugging_face(loaded(folder, family), ours.with_name("theirs"))
            export_hugging_face(ours, adapter, prefix=prefix)
    again = run_reference("load", folder)
    assert len(again) == len(CASES)
    for family, case in CASES:
        check_alike(again[f"{family}-{case}"], theirs[f"{family}-{case}"], batch["mask"])


@pytest.mark.reference
def test_options_are_read(made: Any) -> None:
    folder, *_ = made
    for case, expected in {
        "plain": LoRAConfig(rank=4, alpha=8.0, target_layers=("query", "value")),
        "own-biases": LoRAConfig(rank=4, alpha=8.0, target_layers=("query", "value"), bias="targets"),
    }.items():
        assert add_hugging_face(loaded(folder, "bert"), folder / f"bert-{case}" / "theirs").config == expected


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return export_hugging_face(tmp_path / "adapter", with_lora())


def with_lora(architecture: str = "bert", **options: Any) -> Adapter:
    return shaken(added(tiny(architecture), "lora", LoRAConfig(**{"rank": 2, "bias": "targets", **options})))


def test_a_file_holds_transposed_matrices_under_the_names_of_hugging_face(exported: Path) -> None:
    adapter = with_lora()
    found = safetensors.numpy.load_file(exported / "adapter_model.safetensors")
    own = adapter.state()
    start = "base_model.model.encoder.layer.1.attention.self.query"
    path = "transformer_layer_1/self_attention_layer/query"
    np.testing.assert_array_equal(found[f"{start}.lora_A.weight"], own[f"{path}/lora_a"].T)
    np.testing.assert_array_equal(found[f"{start}.lora_B.weight"], own[f"{path}/lora_b"].T)
    layer = next(layer for layer, _ in adapter.sides if layer.path == path)  # type: ignore[attr-defined]
    bias = (layer.bias.numpy() + own[f"{path}/bias_change"]).reshape(-1)
    np.testing.assert_allclose(found[f"{start}.base_layer.bias"], bias, rtol=1e-6)
    assert len(found) == 4 * 3
    described = json.loads((exported / "adapter_config.json").read_text())
    assert described["peft_type"] == "LORA"
    assert (described["r"], described["lora_alpha"], described["bias"]) == (2, 16.0, "lora_only")
    assert len(described["target_modules"]) == 4


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distil_bert", "electra", "llama3", "mistral"])
def test_what_was_written_is_read(tmp_path: Path, architecture: str) -> None:
    options = {"target_layers": ("all-linear", "token_embedding"), "bias": "all", "rank_stabilized": True}
    adapter = with_lora(architecture, **options)
    base = tiny(architecture)
    add_hugging_face(base.base, export_hugging_face(tmp_path / "a", adapter, prefix="model"))
    np.testing.assert_allclose(base(), adapter.base.model(base.batch), atol=1e-5)
    assert np.abs(base() - tiny(architecture)()).max() > 0.05


def test_a_merged_adapter_is_written_as_it_was_before(tmp_path: Path) -> None:
    adapter = with_lora()
    export_hugging_face(tmp_path / "before", adapter)
    adapter.merge()
    export_hugging_face(tmp_path / "merged", adapter)
    name = "adapter_model.safetensors"
    assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "merged" / name).read_bytes()
    assert adapter.merged


def rewritten(folder: Path, **options: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"peft_type": "IA3"}, "method IA3"),
        ({"modules_to_save": ["classifier"]}, "modules_to_save"),
        ({"use_dora": True}, "use_dora=True"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"an_option_of_tomorrow": 3}, "an_option_of_tomorrow=3"),
        ({"bias": "some"}, "bias='some'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_represented_is_refused(exported: Path, options: dict[str, Any], says: str) -> None:
    rewritten(exported, **options)
    with pytest.raises(ConfigError, match=says):
        add_hugging_face(tiny("bert").base, exported)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda found: found.update({"base_model.model.classifier.weight": np.ones(3)}), ConfigError, "classifier"),
        (lambda found: found.update({"base_model.model.classifier.bias": np.ones(3)}), ConfigError, "'classifier'"),
        (lambda found: found.update({WORD_EMBEDDINGS: np.ones((WORDS, HIDDEN))}), ConfigError, "are not the base's"),
        (lambda found: found.pop(min(found)), ArtifactError, "lack biases"),
        (lambda found: found.pop(next(name for name in found if "lora_A" in name)), ArtifactError, "one matrix of two"),
    ],
    ids=["head", "head-bias", "embeddings", "bias", "half"],
)
def test_other_weights_are_refused(exported: Path, change: Any, error: type[Exception], says: str) -> None:
    path = exported / "adapter_model.safetensors"
    found = safetensors.numpy.load_file(path)
    assert min(found).endswith("base_layer.bias")
    change(found)
    safetensors.numpy.save_file(found, path)
    base = tiny("bert")
    with pytest.raises(error, match=says):
        add_hugging_face(base.base, exported)
    assert not [variable for variable in base.base.model.variables if "lora" in variable.path]


def test_damaged_and_missing_files_are_refused(exported: Path) -> None:
    weights = exported / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="not a whole safetensors file"):
        add_hugging_face(tiny("bert").base, exported)
    weights.rename(exported / "adapter_model.bin")
    with pytest.raises(ArtifactError, match="safe_serialization=True"):
        add_hugging_face(tiny("bert").base, exported)
    (exported / "adapter_config.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        add_hugging_face(tiny("bert").base, exported)
    with pytest.raises(ArtifactError, match=r"adapter_config\.json"):
        add_hugging_face(tiny("bert").base, exported / "nothing")


def test_a_base_of_another_size_or_architecture_is_refused(exported: Path, tmp_path: Path) -> None:
    model = keras_hub.models.BertBackbone(
        vocabulary_size=WORDS, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=32, max_sequence_length=40
    )
    with pytest.raises(ArtifactError, match="the base has 8"):
        add_hugging_face(Base(model), exported)
    with pytest.raises(ConfigError, match="no layer of this base of the Llama family"):
        add_hugging_face(tiny("llama").base, exported)
    with pytest.raises(ConfigError, match="known are BERT, RoBERTa"):
        add_hugging_face(tiny("gpt2").base, exported)
    with pytest.raises(ConfigError, match="no known names"):
        export_hugging_face(tmp_path / "a", with_lora("le_net", target_layers="all-linear", bias="none"))
    with pytest.raises(ConfigError, match="'ia3' cannot be written"):
        export_hugging_face(tmp_path / "a", added(tiny("bert"), "ia3", IA3Config()))
    assert not (tmp_path / "a").exists()
