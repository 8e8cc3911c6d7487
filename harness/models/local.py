"""Local transformers models: loading the artifact that ships, answering in batches, likelihoods."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar, cast

from harness.errors import ModelError
from harness.models import quiet_transformers
from harness.models.bound import BoundRows, Grammars
from harness.models.chat import TurnsError, load_tokenizer
from harness.models.chat_format import Chat
from harness.models.device import DevicePlan
from harness.models.fast import keep_freed_memory
from harness.models.fast.attention import (
    MIN_PREFIX_TOKENS,
    SharedPrefix,
    can_share,
    common_prefix,
    pooled,
    register_grouped_eager,
)
from harness.models.fast.attention import NAME as GROUPED_EAGER
from harness.models.fast.decoding import KEEP_SHARE, shrinking_greedy
from harness.models.fast.heads import has_plain_head, logits_at, parts_of
from harness.models.fast.products import pack
from harness.models.fast.reading import Kept, follows_trees, read_prompts, read_trees
from harness.models.generation import DrawnLogprobs, keep_end_tokens_only
from harness.models.protocol import AnswerSchema, Decoding, Prompt, Tools
from harness.models.source import ModelSource
from harness.records import Answer

if TYPE_CHECKING:
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )
    from transformers.modeling_outputs import CausalLMOutputWithPast

MAX_BATCH_ROWS = 128
MAX_BATCH_TOKENS = 32_768  # padded prompt tokens: bounds memory
MIN_BATCH_ROWS = 8
MAX_STRETCH = 1.6  # a batch ends before a prompt this many times longer than its mean: padding is work
MAX_POOL_ROWS = 256  # beyond that, a row takes as long as in two pools
POOLS = f"pools of {MAX_POOL_ROWS} rows, read as fused trees"
Item = TypeVar("Item")


def load_base(source: ModelSource, plan: DevicePlan, *, attention: str, nf4: bool = False) -> PreTrainedModel:
    """The base model, frozen, on the plan's device.

    With ``nf4`` its linear layers hold what 4-bit NormalFloat with double quantisation keeps (Dettmers et
    al. 2023, QLoRA). On a GPU they stay packed, which saves memory. On a CPU they are unpacked before the
    first forward, which would repack them in place (bitsandbytes 0.50.2): the layers' outputs are the same
    bit for bit, and matrix products run several times faster.
    """
    import torch
    from transformers import BitsAndBytesConfig

    if attention == GROUPED_EAGER:
        register_grouped_eager()
    if plan.fast.memory:
        keep_freed_memory()
    quantisation = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=plan.torch_dtype,
        )
        if nf4
        else None
    )
    with quiet_transformers():
        model: PreTrainedModel = _auto_class(source).from_pretrained(
            str(source.folder),
            dtype=plan.torch_dtype,
            attn_implementation=attention,
            trust_remote_code=source.trust_remote_code,
            use_safetensors=True,
            quantization_config=quantisation,
            device_map={"": plan.device} if nf4 else None,
        )
        if nf4 and plan.device == "cpu":
            model = model.dequantize(dtype=plan.torch_dtype)
    model.eval().requires_grad_(False)
    if not nf4:
        torch.nn.Module.to(model, plan.device)  # in place
    return model


def _auto_class(source: ModelSource) -> type[AutoModelForCausalLM | AutoModelForImageTextToText]:
    """What loads a base: some multimodal architectures are no causal language model by themselves."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(
        str(source.folder), trust_remote_code=source.trust_remote_code, local_files_only=True
    )
    is_multimodal = type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if is_multimodal and type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def make_head_input_contiguous(model: PreTrainedModel) -> None:
    """Copy the last position before the output head, which otherwise meets a strided slice.

    On a frozen model ``linear`` takes a slow path for such a slice: it expands the whole vocabulary matrix
    once a row.
    """
    head = model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, args: (args[0].contiguous(), *args[1:]))


def with_adapter(base: PreTrainedModel, adapter: Path, plan: DevicePlan) -> PreTrainedModel:
    """The base with a PEFT adapter on top, unmerged, in the base's precision: what a server would run."""
    if not (adapter / "adapter_model.safetensors").is_file():  # else PEFT opens pickled weights
        raise ModelError(f"{adapter} has no adapter_model.safetensors: delete it, and it is trained again.")
    from peft import PeftModel

    model = PeftModel.from_pretrained(base, str(adapter), autocast_adapter_dtype=False)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(plan.torch_dtype)
    frozen: PreTrainedModel = model.eval().requires_grad_(False)
    return frozen


class LocalModel:
    """A loaded model with its tokenizer.

    The model's own defaults of generation are set aside, in place, but for its end tokens. Answers are drawn
    in batches of rows of like length. The batches follow from the prompts alone, because greedy answers in
    bfloat16 depend on which rows share a batch.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, plan: DevicePlan) -> None:
        self._model, self._tokenizer, self._plan = model, tokenizer, plan
        self.numeric_config = batch_numeric_config(plan)
        keep_end_tokens_only(model)
        self._grammars: Grammars | None = None
        self._kept = Kept()

    @classmethod
    def load(
        cls, source: ModelSource, plan: DevicePlan, *, nf4: bool = False, adapter: Path | None = None
    ) -> LocalModel:
        """Load a base, with an adapter on top where one is given."""
        base = load_base(source, plan, attention=plan.inference_attention, nf4=nf4)
        make_head_input_contiguous(base)
        model = with_adapter(base, adapter, plan) if adapter else base
        if plan.fast.products:
            pack(model)
        return cls(model, load_tokenizer(source), plan)

    def answer(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Iterator[Answer]:
        """See ``Model.answer``. A beginning that all prompts share is read once."""
        chat = Chat(self._tokenizer, decoding.thinking, self._end_ids())
        try:
            texts = chat.ids([chat.prompt(p.messages, p.tools) for p in prompts])
        except TurnsError as error:
            raise ModelError(f"a prompt that the model's chat template refuses: {error}.") from error
        tokens = {p.row_id: ids for p, ids in zip(prompts, texts, strict=True)}
        tools = {p.row_id: p.tools for p in prompts}
        order = sorted(tokens, key=lambda row_id: (len(tokens[row_id]), row_id))
        shares = self._plan.fast.prefix and can_share(self._model, self._plan.inference_attention)
        shared = common_prefix(list(tokens.values())) if tokens and shares else []
        if len(shared) < MIN_PREFIX_TOKENS:
            shared = []
        prefix: SharedPrefix | None = None
        lengths = [len(tokens[row_id]) - len(shared) for row_id in order]
        is_pooled = self._reads_trees and self._plan.fast.decoding and not decoding.temperature > 0
        if is_pooled:
            pools = pools_by_length(order, lengths)
        else:
            pools = ([batch] for batch in batches_by_length(order, lengths))
        for pool in pools:
            if known.issuperset(chain.from_iterable(pool)):
                continue
            if shared and prefix is None:
                prefix = SharedPrefix(self._model, shared)
            yield from self._answer_batch(pool, is_pooled, tokens, tools, decoding, prefix, chat)

    def _answer_batch(
        self,
        pool: Sequence[Sequence[str]],
        is_pooled: bool,
        tokens: dict[str, list[int]],
        tools: dict[str, Tools | None],
        decoding: Decoding,
        prefix: SharedPrefix | None,
        chat: Chat,
    ) -> Iterator[Answer]:
        import torch

        began = time.perf_counter()
        batch = list(chain.from_iterable(pool))
        limit = decoding.max_new_tokens + (decoding.max_thinking_tokens if decoding.thinking else 0)
        pad, device = self._tokenizer.pad_token_id, torch.device(self._plan.device)
        ids = [tokens[row_id] for row_id in batch]
        width, shared = max(map(len, ids)), prefix.tokens if prefix else 0
        gaps = [width - len(i) for i in ids]  # padded on the left of each row's own tokens
        rows = [i[:shared] + [pad] * gap + i[shared:] for i, gap in zip(ids, gaps, strict=True)]
        masks = [[1] * shared + [0] * gap + [1] * (width - shared - gap) for gap in gaps]
        settings: dict[str, object] = {
            "input_ids": torch.tensor(rows, device=device),
            "attention_mask": torch.tensor(masks, device=device),
            "pad_token_id": pad,
            "eos_token_id": list(chat.ends),
            "max_new_tokens": limit,
            "do_sample": decoding.temperature > 0,
        }
        if is_pooled:
            settings["read"] = self._read([i[shared:] for i in ids], list(map(len, pool)), prefix)
        elif prefix is not None:
            settings["past_key_values"] = prefix.new_cache()
        if decoding.temperature > 0:
            # every batch has a seed of its own, or the same place in two batches would meet the same chances
            seed = hashlib.sha256(f"{decoding.seed} {batch[0]}".encode()).digest()
            torch.manual_seed(int.from_bytes(seed[:8], "big", signed=True))
            # transformers' own default keeps the 50 likeliest tokens
            settings |= {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
        elif self._plan.fast.decoding:
            settings["custom_generate"] = shrinking_greedy
        held, drawn = self._bound_rows(chat, decoding.schema, len(batch)), DrawnLogprobs(len(batch))
        settings["logits_processor"] = [drawn] if held is None else [drawn, held]
        generate: Callable[..., torch.Tensor] = getattr(self._model, "generate")  # noqa: B009 - untyped there
        with torch.inference_mode(), quiet_transformers():
            output = generate(**settings)
        elapsed_ms = (time.perf_counter() - began) * 1000 / len(batch)
        failures, logprobs = {} if held is None else held.failures, drawn.of(output)
        for k, (row_id, sequence) in enumerate(zip(batch, output[:, width:].tolist(), strict=True)):
            stop = chat.stop(sequence)
            said = sequence[:stop]
            if k in failures:
                reason = f"its schema's grammar broke off: {failures[k]}"
                yield Answer(row_id, "", len(tokens[row_id]), len(said), elapsed_ms, "failed", reason)
                continue
            text, calls = chat.answered(said, tools[row_id])
            # the end token is one of the answer's: it may be as doubtful as any
            length = len(said) + (stop is not None)
            own = logprobs[k][:length][chat.answer_start(said) or 0 :] or logprobs[k][:length]
            yield Answer(
                row_id=row_id,
                text=text,
                prompt_tokens=len(tokens[row_id]),
                completion_tokens=length,  # the end token is generated and billed too
                latency_ms=elapsed_ms,
                finish="length" if stop is None else "tool_calls" if calls else "stop",
                logprob=fmean(own),
            )

    def _read(
        self, prompts: Sequence[list[int]], parts: Sequence[int], prefix: SharedPrefix | None
    ) -> CausalLMOutputWithPast:
        """The last logits of each prompt, and a cache of all of them: see ``pooled``."""
        import torch
        from transformers.modeling_outputs import CausalLMOutputWithPast

        decoder, head = parts_of(self._model)
        with torch.inference_mode():
            read = read_prompts(decoder, prompts, prefix.layers if prefix else ())
            logits: torch.FloatTensor = head(read.hidden)[:, None]
            return CausalLMOutputWithPast(logits=logits, past_key_values=pooled(read, parts, prefix))

    def _bound_rows(self, chat: Chat, schema: AnswerSchema | None, rows: int) -> BoundRows | None:
        if schema is None:
            return None
        if self._grammars is None:
            self._grammars = Grammars(chat, len(self._model.get_output_embeddings().weight))
        return BoundRows(self._grammars, chat, schema, rows)

    def _end_ids(self) -> tuple[int, ...]:
        """The tokens that the model's own settings end an answer at."""
        generation = self._model.generation_config
        given = None if generation is None else generation.eos_token_id
        return tuple(given) if isinstance(given, list) else () if given is None else (int(given),)

    def logprob(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """See ``Model.logprob``."""
        return [float(tokens.mean()) for tokens in self._continuations(pairs)]

    def token_logprobs(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Natural log-probability of each token of each continuation after its context."""
        return [tokens.tolist() for tokens in self._continuations(pairs)]

    def _continuations(self, pairs: Sequence[tuple[str, str]]) -> list[torch.Tensor]:
        import torch

        encoded = [self._encode_pair(context, continuation) for context, continuation in pairs]
        if self._reads_trees:
            with torch.inference_mode():
                return read_trees(*parts_of(self._model), encoded, self._kept)
        order = sorted(range(len(encoded)), key=lambda k: (len(encoded[k][0]), k))
        results = [torch.empty(0)] * len(encoded)
        pad, device = self._tokenizer.pad_token_id, torch.device(self._plan.device)
        with torch.inference_mode():
            plain = self._plan.fast.heads and has_plain_head(self._model)
            for batch in batches_by_length(order, [len(encoded[k][0]) for k in order]):
                rows = [encoded[k] for k in batch]
                width = max(len(ids) for ids, _ in rows)
                ids = torch.tensor([i + [pad] * (width - len(i)) for i, _ in rows], device=device)
                mask = torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i, _ in rows], device=device)
                # only continuation positions reach the output head: the vocabulary is most of the work
                keep = torch.zeros_like(mask, dtype=torch.bool)
                for k, (i, start) in enumerate(rows):
                    keep[k, start - 1 : len(i) - 1] = True
                logits = logits_at(self._model, ids, mask, keep, plain=plain).float()
                targets = ids.roll(-1, dims=1)[keep]
                chosen = torch.log_softmax(logits, dim=-1).gather(1, targets[:, None])[:, 0]
                parts = chosen.split(keep.sum(dim=1).tolist())
                for k, part in zip(batch, parts, strict=True):
                    results[k] = part
        return results

    @cached_property
    def _reads_trees(self) -> bool:
        shares = reads_trees(self._plan) and can_share(self._model, self._plan.inference_attention)
        if not shares or not has_plain_head(self._model):
            return False
        return follows_trees(cast("PreTrainedModel", parts_of(self._model)[0]))

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], int]:
        before = self._tokenizer(context, add_special_tokens=False)["input_ids"]
        after = self._tokenizer(continuation, add_special_tokens=False)["input_ids"]
        if not after:
            raise ModelError("an empty continuation has no likelihood.")
        if not before:
            begin = self._tokenizer.bos_token_id  # 0 is a token too
            before = [self._tokenizer.eos_token_id if begin is None else begin]
        return before + after, len(before)


def batch_numeric_config(plan: DevicePlan) -> str:
    """What answers depend on besides model, prompts and decoding; part of their cache key."""
    parts = [
        plan.numeric_config,
        f"batches of {MAX_BATCH_ROWS} rows and {MAX_BATCH_TOKENS} tokens by length within {MAX_STRETCH}",
        f"cut below {KEEP_SHARE:.0%} of rows" if plan.fast.decoding else "never cut",
        *((POOLS,) if plan.fast.decoding and reads_trees(plan) else ()),
        *(("packed weights",) if plan.fast.products else ()),
        f"shared beginnings from {MIN_PREFIX_TOKENS} tokens read once" if plan.fast.prefix else "read whole",
    ]
    return ", ".join([*parts, *(() if plan.fast.heads else ("logits at every position",))])


def pools_by_length(order: Sequence[Item], lengths: Sequence[int]) -> Iterator[list[Sequence[Item]]]:
    """Batches of like length, gathered to pools that are decoded together.

    A pool holds up to ``MAX_POOL_ROWS`` and, as its parts are padded, ``MAX_BATCH_TOKENS``.
    """
    pool: list[Sequence[Item]] = []
    rows = held = end = 0
    for batch in batches_by_length(order, lengths):
        end += len(batch)
        size = len(batch) * lengths[end - 1]
        if pool and (rows + len(batch) > MAX_POOL_ROWS or held + size > MAX_BATCH_TOKENS):
            yield pool
            pool, rows, held = [], 0, 0
        pool.append(batch)
        rows, held = rows + len(batch), held + size
    if pool:
        yield pool


def reads_trees(plan: DevicePlan) -> bool:
    """Whether likelihoods are read by ``read_trees``: what a text is read with changes nothing then."""
    return plan.inference_attention == GROUPED_EAGER and plan.fast.prefix and plan.fast.heads


def reading_numeric_config(plan: DevicePlan) -> str:
    """What likelihoods depend on besides model and texts; part of their cache key."""
    if not reads_trees(plan):
        return batch_numeric_config(plan)
    return f"{plan.numeric_config}, as trees{', packed weights' if plan.fast.products else ''}"


def batches_by_length(order: Sequence[Item], lengths: Sequence[int]) -> Iterator[Sequence[Item]]:
    """Cut ``order``, sorted by ascending length in tokens, into batches of like length.

    A batch holds up to ``MAX_BATCH_ROWS`` and, padded, ``MAX_BATCH_TOKENS``; from ``MIN_BATCH_ROWS`` on it
    ends before an item more than ``MAX_STRETCH`` times as long as its mean.
    """
    start, total = 0, 0
    for k, length in enumerate(lengths):
        rows = k - start
        stretched = rows >= MIN_BATCH_ROWS and length * rows > MAX_STRETCH * total
        full = rows == MAX_BATCH_ROWS or (rows > 0 and (rows + 1) * length > MAX_BATCH_TOKENS)
        if full or stretched:
            yield order[start:k]
            start, total = k, 0
        total += length
    if start < len(order):
        yield order[start:]
