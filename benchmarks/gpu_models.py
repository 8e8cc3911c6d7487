"""Models of Llama's shape with random weights and a tokenizer of bytes, made on the device in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.models import quiet_transformers
from harness.models.device import DevicePlan
from harness.models.source import ModelSource
from harness.records import Json
from harness.training.memory import BaseShape

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Sizes of a Llama."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    key_heads: int
    vocabulary: int
    tied: bool

    @property
    def config(self) -> dict[str, Json]:
        """As ``config.json`` has them."""
        return {
            "num_hidden_layers": self.layers,
            "hidden_size": self.hidden,
            "intermediate_size": self.feed_forward,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_heads,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
            "max_position_embeddings": 4096,
        }

    @property
    def bytes(self) -> int:
        """On the disk, at two bytes a weight."""
        shape = BaseShape.of(self.config)
        return 2 * (shape.linear_weights + shape.other_weights)


# those of Llama 3.2 1B and Llama 3.1 8B
SHAPES = {
    "1B": LlamaShape(16, 2048, 8192, 32, 8, 128_256, tied=True),
    "8B": LlamaShape(32, 4096, 14_336, 32, 8, 128_256, tied=False),
}
TINY = LlamaShape(2, 64, 128, 4, 2, 512, tied=True)


def build(shape: LlamaShape, folder: Path, plan: DevicePlan) -> ModelSource:
    """Make the model on the device, and save it with its tokenizer in ``folder``."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|im_start|>", "<|im_end|>", "<pad>"]
    vocabulary = {
        token: k for k, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])
    }
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1], pad_token=special[2]
    )
    fast.chat_template = CHATML
    torch.manual_seed(0)
    config = LlamaConfig.from_dict({**shape.config, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2})
    with quiet_transformers():
        with torch.device(plan.device):
            model = LlamaForCausalLM._from_config(config, dtype=plan.torch_dtype)
        model.save_pretrained(folder, max_shard_size="4GB")
        fast.save_pretrained(folder)
    del model
    # the digest names what answers and adapters are kept under; nothing of this is kept
    return ModelSource(f"random {shape.layers} layers", folder, "random weights, seed 0")
