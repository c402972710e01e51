"""What the layers of KerasHub's backbones are called in Hugging Face models of the same architecture."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping

from tfft.core.errors import ConfigError

_NUMBER = "{}"
#: What a model with a head calls the base inside it.
_OF_BASE = r"(?:(?:bert|roberta|distilbert|electra|model)\.)*"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Names of one family of architectures.

    Attributes:
        family: Name of the family.
        marks: Paths of layers that a base of the family has, and that tell it from the others.
        modules: From paths of the base's layers to module names, both with `{}` for the number of a block.
    """

    family: str
    marks: tuple[str, ...]
    modules: Mapping[str, str]

    def module_of(self, path: str) -> str | None:
        """Returns the module of a layer, by its path in the base; None for a layer without one."""
        for own, other in self.modules.items():
            if (found := _number(own, path)) is not None:
                return other.replace(_NUMBER, found)
        return None

    def path_of(self, module: str) -> str | None:
        """Returns the path of the layer that a module is, whatever head is around the base; None when it is none."""
        for own, other in self.modules.items():
            if (found := _number(other, module, before=_OF_BASE)) is not None:
                return own.replace(_NUMBER, found)
        return None


def _number(template: str, name: str, *, before: str = "") -> str | None:
    pattern = re.escape(template).replace(re.escape(_NUMBER), r"(\d+)")
    match = re.fullmatch(before + pattern, name)
    return None if match is None else "".join(match.groups())


def _in_blocks(own: str, other: str, names: Mapping[str, str]) -> dict[str, str]:
    return {f"{own}/{left}": f"{other}.{right}" for left, right in names.items()}


_BERT_BLOCK = _in_blocks(
    "transformer_layer_{}",
    "encoder.layer.{}",
    {
        "self_attention_layer/query": "attention.self.query",
        "self_attention_layer/key": "attention.self.key",
        "self_attention_layer/value": "attention.self.value",
        "self_attention_layer/attention_output": "attention.output.dense",
        "self_attention_layer_norm": "attention.output.LayerNorm",
        "feedforward_intermediate_dense": "intermediate.dense",
        "feedforward_output_dense": "output.dense",
        "feedforward_layer_norm": "output.LayerNorm",
    },
)
LAYOUTS = (
    Layout(
        "BERT",
        ("segment_embedding", "transformer_layer_0/self_attention_layer/query"),
        {
            "token_embedding": "embeddings.word_embeddings",
            "segment_embedding": "embeddings.token_type_embeddings",
            "embeddings_layer_norm": "embeddings.LayerNorm",
            "embeddings_projection": "embeddings_project",  # of ELECTRA
            **_BERT_BLOCK,
            "pooled_dense": "pooler.dense",
        },
    ),
    Layout(
        "RoBERTa",
        ("embeddings/token_embedding", "transformer_layer_0/self_attention_layer/query"),
        {
            "embeddings/token_embedding": "embeddings.word_embeddings",
            "embeddings_layer_norm": "embeddings.LayerNorm",
            **_BERT_BLOCK,
        },
    ),
    Layout(
        "DistilBERT",
        ("token_and_position_embedding/token_embedding", "transformer_layer_0/self_attention_layer/query"),
        {
            "token_and_position_embedding/token_embedding": "embeddings.word_embeddings",
            "embeddings_layer_norm": "embeddings.LayerNorm",
            **_in_blocks(
                "transformer_layer_{}",
                "transformer.layer.{}",
                {
                    "self_attention_layer/query": "attention.q_lin",
                    "self_attention_layer/key": "attention.k_lin",
                    "self_attention_layer/value": "attention.v_lin",
                    "self_attention_layer/attention_output": "attention.out_lin",
                    "self_attention_layer_norm": "sa_layer_norm",
                    "feedforward_intermediate_dense": "ffn.lin1",
                    "feedforward_output_dense": "ffn.lin2",
                    "feedforward_layer_norm": "output_layer_norm",
                },
            ),
        },
    ),
    Layout(
        "Llama",
        ("transformer_layer_0/self_attention/query", "transformer_layer_0/feedforward_gate_dense"),
        {
            "token_embedding": "embed_tokens",
            **_in_blocks(
                "transformer_layer_{}",
                "layers.{}",
                {
                    "self_attention/query": "self_attn.q_proj",
                    "self_attention/key": "self_attn.k_proj",
                    "self_attention/value": "self_attn.v_proj",
                    "self_attention/attention_output": "self_attn.o_proj",
                    "feedforward_gate_dense": "mlp.gate_proj",
                    "feedforward_intermediate_dense": "mlp.up_proj",
                    "feedforward_output_dense": "mlp.down_proj",
                },
            ),
        },
    ),
)


def layout_of(paths: Collection[str], name: str) -> Layout:
    """Returns the layout of a base.

    Args:
        paths: Paths of its layers.
        name: Its name, for the message.

    Returns:
        The layout.

    Raises:
        ConfigError: When its architecture is none of those that names are known for.
    """
    for layout in LAYOUTS:
        if all(mark in paths for mark in layout.marks):
            return layout
    raise ConfigError(
        f"The layers of {name!r} have no known names in Hugging Face models; known are "
        f"{', '.join(layout.family for layout in LAYOUTS)} and what is built like them (XLM-RoBERTa, ELECTRA, Mistral, "
        "Qwen). Save the adapter as files of tfft instead (save_adapter)."
    )
