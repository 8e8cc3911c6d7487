"""Predicted memory of trainings beside published figures: ``python -m benchmarks.hardware``.

Rows of 1,024 tokens, one at once, rank 16, gradient checkpointing; in GB as `nvidia-smi` shows it. Published:

- LLaMA-Factory's README, "Hardware Requirement" (full in mixed precision, LoRA in 16 bits, QLoRA in 4), and
  the same table of February 2024 for 8x7B
- Unsloth's documentation, "Unsloth Requirements" (LoRA in 16 bits), as the least that is needed
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.records import Json
from harness.training.hardware import needs, shape_of
from harness.training.memory import BaseShape

TOKENS, RANK = 1024, 16
NAMES = {
    "full": "all weights, gradient checkpointing",
    "LoRA": "LoRA, gradient checkpointing",
    "QLoRA": "QLoRA, gradient checkpointing",
}


def _config(
    kind: str,
    layers: int,
    hidden: int,
    feed_forward: int,
    heads: int,
    key_heads: int,
    vocab: int,
    **more: Json,
) -> Mapping[str, Json]:
    return {
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": feed_forward,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": vocab,
        **more,
    }


# the published shapes, and how many weights the model's page counts
BASES: dict[str, tuple[Mapping[str, Json], int]] = {
    "Mistral 7B v0.3": (_config("mistral", 32, 4096, 14_336, 32, 8, 32_768), 7_248_023_552),
    "Qwen2.5 7B": (_config("qwen2", 28, 3584, 18_944, 28, 4, 152_064), 7_615_616_512),
    "Llama 3.1 8B": (_config("llama", 32, 4096, 14_336, 32, 8, 128_256), 8_030_261_248),
    "Gemma 2 9B": (_config("gemma2", 42, 3584, 14_336, 16, 8, 256_000, head_dim=256), 9_241_705_984),
    "Mixtral 8x7B": (
        _config("mixtral", 32, 4096, 14_336, 32, 8, 32_000, num_local_experts=8, num_experts_per_tok=2),
        46_702_792_704,
    ),
    "Llama 3.1 70B": (_config("llama", 80, 8192, 28_672, 64, 8, 128_256), 70_553_706_496),
    "Qwen2.5 72B": (_config("qwen2", 80, 8192, 29_568, 64, 8, 152_064), 72_706_203_648),
}
FACTORY, UNSLOTH = "LLaMA-Factory", "Unsloth"
# GB, of which base and method, by whom
PUBLISHED: tuple[tuple[str, str, float, str], ...] = (
    ("Mistral 7B v0.3", "full", 120, FACTORY),
    ("Mistral 7B v0.3", "LoRA", 16, FACTORY),
    ("Mistral 7B v0.3", "LoRA", 19, UNSLOTH),
    ("Mistral 7B v0.3", "QLoRA", 6, FACTORY),
    ("Qwen2.5 7B", "LoRA", 19, UNSLOTH),
    ("Llama 3.1 8B", "LoRA", 22, UNSLOTH),
    ("Gemma 2 9B", "LoRA", 24, UNSLOTH),
    ("Mixtral 8x7B", "QLoRA", 32, FACTORY),
    ("Llama 3.1 70B", "full", 1200, FACTORY),
    ("Llama 3.1 70B", "LoRA", 160, FACTORY),
    ("Llama 3.1 70B", "LoRA", 164, UNSLOTH),
    ("Llama 3.1 70B", "QLoRA", 48, FACTORY),
    ("Qwen2.5 72B", "QLoRA", 48, FACTORY),
)


def predicted(shape: BaseShape) -> dict[str, float]:
    """GB by method."""
    by_name = {one.name: one.gigabytes for one in needs(shape, tokens=TOKENS, r=RANK)}
    return {method: by_name[name] for method, name in NAMES.items()}


def main() -> None:
    """Print the table, as Markdown."""
    print("| base | weights | full | LoRA | QLoRA | published |")
    print("| --- | --: | --: | --: | --: | --- |")
    for name, (config, _) in BASES.items():
        shape = shape_of(config)
        found = predicted(shape)
        beside = "; ".join(
            f"{method} {gb:g} ({who}: {100 * (found[method] / gb - 1):+.0f}%)"
            for base, method, gb, who in PUBLISHED
            if base == name
        )
        cells = " | ".join(f"{gb:,.1f}" for gb in found.values())
        print(
            f"| {name} | {(shape.linear_weights + shape.other_weights) / 1e9:.2f} bn | {cells} | {beside} |"
        )


if __name__ == "__main__":
    main()
