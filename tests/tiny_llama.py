"""A Llama of two layers with random weights and a tokenizer of its own: a real model, made in no time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.models.device import DevicePlan
from harness.models.source import ModelSource, folder_digest
from harness.records import Message, Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EXACT = DevicePlan("cpu", "float32", "eager", "grouped_eager")
BF16 = replace(EXACT, dtype="bfloat16")

START, END = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CALLS_TOOLS = (  # ChatML that takes tools
    "{% if tools %}{{ '<|im_start|>system\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{% for call in m.tool_calls %}{{ '<call>' + (call.function | tojson) }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CORPUS = (
    "Where is my order? Your order is on its way. system user assistant",
    "I want my money back. The refund takes three days. You sort tickets.",
)


def build_source(folder: Path) -> ModelSource:
    """Save model and tokenizer in ``folder``. Hidden width 64, four query heads over two key heads."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,  # wide enough that likeliest tokens differ from prompt to prompt
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = LlamaForCausalLM(config)
    return save(model, tokenizer, folder)


def build_granite(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A model that does something of its own after the output head: it scales the logits."""
    import torch
    from transformers import GraniteConfig, GraniteForCausalLM

    config = GraniteConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        logits_scaling=0.125,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GraniteForCausalLM(config)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> ModelSource:
    """Any model with a tokenizer, as a source in a local folder."""
    from harness.models import quiet_transformers

    with quiet_transformers():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return ModelSource(str(folder), folder, folder_digest(folder))


def build_tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level BPE of some 300 tokens with a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[START, END, "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=START, eos_token=END, pad_token="<pad>", model_max_length=512
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def row(*turns: str | tuple[str, int], id: str = "row-1", where: str = "train.jsonl:1") -> Row:
    """A row of user and assistant turns in alternation; ``(text, weight)`` sets a weight."""
    roles = ("user", "assistant")
    pairs = [turn if isinstance(turn, tuple) else (turn, 1) for turn in turns]
    messages = tuple(Message(roles[k % 2], text, weight) for k, (text, weight) in enumerate(pairs))
    return Row(id=id, messages=messages, where=where)


def rows(n: int) -> tuple[Row, ...]:
    """``n`` rows of different lengths and contents."""
    return tuple(
        row(
            f"Where is order {k}?" + " It is late." * (k % 4),
            f"Order {k} is on its way." + " Sorry." * (k % 3),
            id=f"row-{k}",
            where=f"train.jsonl:{k + 1}",
        )
        for k in range(n)
    )


def ids_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of a text as it stands."""
    ids: Sequence[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return list(ids)


def build_adapter(source: ModelSource, folder: Path) -> Path:
    """A LoRA adapter of rank 4 with random weights, so that it changes every logit."""
    import torch
    from peft import LoraConfig, get_peft_model

    from harness.models.local import load_base

    base = load_base(source, EXACT, attention="eager")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = get_peft_model(
            base, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
        )
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder
