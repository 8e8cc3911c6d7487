"""A BERT of two layers with random weights, in a folder as sentence-transformers saves one."""

from __future__ import annotations

import json
from pathlib import Path

from harness.records import Json

WORDS = ("the", "valve", "grinds", "loudly", "at", "five", "every", "morning", "refund", "please", "order")
MOST_TOKENS = 8  # read at once
NEW_POOLING: dict[str, Json] = {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True}
MODULES = (
    ("", "sentence_transformers.models.Transformer"),
    ("1_Pooling", "sentence_transformers.models.Pooling"),
    ("2_Normalize", "sentence_transformers.models.Normalize"),
)


def build_encoder(folder: Path) -> Path:
    """Save model and tokenizer in ``folder``, with mean pooling and a normalisation."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from harness.models import quiet_transformers

    folder.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *"abcdefghijklmnopqrstuvwxyz"])
    vocabulary = {token: k for k, token in enumerate(names)}
    wordpiece = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    wordpiece.normalizer = normalizers.BertNormalizer()
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    wordpiece.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=wordpiece, pad_token="[PAD]", unk_token="[UNK]")
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(5)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    describe(folder)
    return folder


def describe(
    folder: Path,
    modules: tuple[tuple[str, str], ...] = MODULES,
    pooling: dict[str, Json] = NEW_POOLING,
    **settings: Json,
) -> None:
    """Write what says how the tokens' vectors become one."""
    listed = [{"idx": k, "name": str(k), "path": at, "type": kind} for k, (at, kind) in enumerate(modules)]
    limits = {"max_seq_length": MOST_TOKENS, "do_lower_case": False, **settings}
    files = {"modules.json": listed, "1_Pooling/config.json": pooling, "sentence_bert_config.json": limits}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
