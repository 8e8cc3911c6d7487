"""A model that is really trained behind Tinker's wire: the built-in one, or that of a local folder.

The base is held once, as local training holds it, with one set of adapters for each run. Chats are answered
by the base in its own precision with the checkpoint's adapters, as local candidates' are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, cast

from harness.models import quiet_transformers
from harness.models.chat import load_tokenizer
from harness.models.device import DevicePlan, device_plan
from harness.models.fast.heads import has_plain_head, parts_of
from harness.models.generation import keep_end_tokens_only
from harness.models.local import LocalModel, load_base
from harness.models.progress import Progress
from harness.models.source import BUILTIN, ModelSource, context_tokens, end_token_ids, resolve
from harness.testing.fake_openai.real import RealBackend
from harness.testing.fake_tinker.backend import AdamStep, Sampled, Sampling, TrainedTokens, UserError
from harness.testing.fake_tinker.records import Lora

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

ALPHA = 32  # of adapters of any rank, as the service has it (its outputs are multiplied by alpha / rank)
PART_TOKENS = 1_024  # padded, that go through the model at once
HEAD_ROWS = 256  # positions that go through the head at once where no gradient is wanted
WEIGHTS, OPTIMIZER = "adapter_model.safetensors", "optimizer.pt"


@dataclass
class _Trained:
    """A run: the model that has its adapters, under which name, and its optimizer once there is one."""

    model: PeftModel
    name: str
    weights: list[torch.nn.Parameter]
    optimizer: torch.optim.AdamW | None = None


class RealTinker(RealBackend):
    """See the module, and ``RealBackend`` for the arguments. ``plan``: None for this machine's."""

    def __init__(
        self, progress: Progress | None = None, lock: Lock | None = None, plan: DevicePlan | None = None
    ) -> None:
        super().__init__(progress, lock)
        self._plan = plan or device_plan()
        self._runs: dict[str, _Trained] = {}
        self._wrapped: dict[str, PeftModel] = {}  # bases with adapters, by their folders
        self._sampled: dict[Path, str] = {}  # adapters of checkpoints, by their folders
        self._resolved = cache(lambda base: resolve(self._base(base), self._progress))
        self._plain = cache(self._has_plain_head)
        self._made = 0

    def context_tokens(self, base: str) -> int:
        """See ``TinkerBackend``."""
        return context_tokens(self._resolved(base)) or 2_048

    def tokenizer(self, base: str) -> str:
        """See ``TinkerBackend``."""
        return str(self._resolved(base).folder)

    def create(self, run: str, base: str, lora: Lora) -> None:
        """See ``TinkerBackend``."""
        import torch

        with self._computing():
            name = f"run{self._made}"
            self._made += 1
            with torch.random.fork_rng():
                if lora.seed is not None:
                    torch.manual_seed(lora.seed)
                model = self._with_adapter(self._resolved(base), name, lora.rank, lora)
            old = self._runs.pop(run, None)
            if old is not None:
                old.model.delete_adapter(old.name)
            model.set_adapter(name)
            weights = [weight for weight in model.parameters() if weight.requires_grad]
            self._runs[run] = _Trained(model, name, weights)

    def forward(self, run: str, data: Sequence[TrainedTokens], *, backward: bool) -> list[list[float]]:
        """See ``TinkerBackend``."""
        import torch

        with self._computing():
            trained = self._runs[run]
            trained.model.set_adapter(trained.name)
            words = trained.model.get_input_embeddings().weight.shape[0]
            if any(not 0 <= token < words for d in data for token in (*d.tokens, *d.targets)):
                raise UserError(f"a token that the vocabulary of {words} does not have")
            found: list[list[float]] = [[]] * len(data)
            for part in _parts(data):
                with torch.set_grad_enabled(backward):
                    logprobs, weights = self._logprobs(trained.model, [data[k] for k in part])
                    if backward and weights.any():
                        (-(logprobs * weights).sum()).backward()
                for k, row in zip(part, logprobs.detach().tolist(), strict=True):
                    found[k] = row[: len(data[k].tokens)]
            return found

    def _logprobs(self, model: PeftModel, data: Sequence[TrainedTokens]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and weights, (rows, tokens), 0 where rows are filled up."""
        import torch

        from harness.training.local.losses import autocast

        device = torch.device(self._plan.device)
        width = max(len(datum.tokens) for datum in data)

        def filled(rows: list[list[int]] | list[list[float]]) -> torch.Tensor:
            return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)

        ids, targets = filled([d.tokens for d in data]), filled([d.targets for d in data])
        weights = filled([d.weights for d in data]).float()
        mask = filled([[1] * len(d.tokens) for d in data])
        found = torch.zeros(weights.shape, device=device)
        with autocast(self._plan):
            if not self._plain(model):
                logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
                found = torch.log_softmax(logits, dim=-1).gather(2, targets[..., None])[..., 0]
                return mask * found, weights
            decoder, head = parts_of(model)
            hidden = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

            def at(keep: torch.Tensor) -> torch.Tensor:
                logits = head(hidden[keep].contiguous()).float()
                chosen: torch.Tensor = logits.gather(1, targets[keep][:, None])[:, 0]
                chosen -= logits.logsumexp(dim=-1)
                return chosen

            weighted = (weights != 0) & (mask == 1)
            found[weighted] = at(weighted)
            with torch.no_grad():  # the rest moves nothing: it is only reported
                rest = ((weights == 0) & (mask == 1)).nonzero()
                for places in rest.split(HEAD_ROWS):
                    keep = torch.zeros_like(weighted)
                    keep[places[:, 0], places[:, 1]] = True
                    found[keep] = at(keep)
        return found, weights

    def step(self, run: str, step: AdamStep) -> dict[str, float]:
        """See ``TinkerBackend``."""
        import torch

        with self._computing():
            trained = self._runs[run]
            optimizer = trained.optimizer = trained.optimizer or torch.optim.AdamW(trained.weights)
            for group in optimizer.param_groups:
                group |= {"lr": step.learning_rate, "betas": step.betas, "eps": step.eps}
                group["weight_decay"] = step.weight_decay
            norm = torch.nn.utils.clip_grad_norm_(trained.weights, step.clip or torch.inf)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return {"unclipped_grad_l2_norm": float(norm)}

    def save(self, run: str, folder: Path, *, optimizer: bool) -> None:
        """See ``TinkerBackend``."""
        import torch
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        with self._computing():
            trained = self._runs[run]
            state = get_peft_model_state_dict(
                trained.model, adapter_name=trained.name, save_embedding_layers=False
            )
            save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)
            trained.model.peft_config[trained.name].save_pretrained(str(folder))
            if optimizer and trained.optimizer is not None:
                torch.save(trained.optimizer.state_dict(), folder / OPTIMIZER)

    def load(self, run: str, folder: Path, *, optimizer: bool) -> None:
        """See ``TinkerBackend``."""
        import torch

        with self._computing():
            trained = self._runs[run]
            _take(trained.model, trained.name, folder)
            trained.optimizer = None
            if optimizer and (folder / OPTIMIZER).is_file():
                trained.optimizer = torch.optim.AdamW(trained.weights)
                trained.optimizer.load_state_dict(torch.load(folder / OPTIMIZER, weights_only=True))

    def sample(
        self, base: str, folder: Path | None, prompt: Sequence[int], how: Sampling, n: int
    ) -> list[Sampled]:
        """See ``TinkerBackend``."""
        import torch

        from harness.training.local.losses import autocast

        source = self._resolved(base)
        stops: Sequence[int | str] = end_token_ids(source) if how.stops is None else how.stops
        texts = [stop for stop in stops if isinstance(stop, str)]
        ends = [stop for stop in stops if isinstance(stop, int)]
        with self._computing(), self._sampling(source, folder) as model, torch.random.fork_rng():
            if how.seed is not None:
                torch.manual_seed(how.seed)
            ids = torch.tensor([list(prompt)] * n, device=self._plan.device)
            drawn = {"temperature": how.temperature, "top_p": how.top_p, "top_k": max(how.top_k, 0)}
            with torch.inference_mode(), quiet_transformers(), autocast(self._plan):
                output = model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=how.max_tokens,
                    do_sample=how.temperature > 0,
                    eos_token_id=ends or None,
                    pad_token_id=0,
                    output_logits=True,
                    return_dict_in_generate=True,
                    **(drawn if how.temperature > 0 else {}),
                    **({"stop_strings": texts, "tokenizer": load_tokenizer(source)} if texts else {}),
                )
            scores = torch.stack(output.logits, dim=1).float().log_softmax(dim=-1)
            tokens = output.sequences[:, len(prompt) :]
            logprobs = scores.gather(2, tokens[..., None])[..., 0].tolist()
        found = []
        for row, values in zip(tokens.tolist(), logprobs, strict=True):
            end = next((k + 1 for k, token in enumerate(row) if token in ends), None)
            has_ended = end is not None or len(row) < how.max_tokens
            found.append(Sampled(row[:end], values[:end], "stop" if has_ended else "length"))
        return found

    def logprobs(self, base: str, folder: Path | None, prompt: Sequence[int]) -> list[float]:
        """See ``TinkerBackend``."""
        import torch

        datum = TrainedTokens(list(prompt[:-1]), list(prompt[1:]), [0.0] * (len(prompt) - 1))
        if not datum.tokens:
            return []
        with self._computing(), self._sampling(self._resolved(base), folder) as model, torch.no_grad():
            row: list[float] = self._logprobs(model, [datum])[0][0].tolist()
            return row

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with self._lock, quiet_transformers():
            yield

    @contextmanager
    def _sampling(self, source: ModelSource, folder: Path | None) -> Iterator[PeftModel]:
        """The base, or a checkpoint on it."""
        from peft import PeftConfig

        if folder is None:
            model = self._wrapped.get(str(source.folder))
            model = model or self._with_adapter(source, "none", 1, Lora(rank=1))
            with model.disable_adapter():
                yield model
            return
        name = self._sampled.get(folder)
        if name is None:
            name = self._sampled[folder] = f"saved{len(self._sampled)}"
            shape = PeftConfig.from_pretrained(str(folder))
            model = self._with_adapter(source, name, shape.r, sorted(shape.target_modules))
            _take(model, name, folder)
        model = self._wrapped[str(source.folder)]
        model.set_adapter(name)
        yield model

    def _with_adapter(self, source: ModelSource, name: str, rank: int, layers: Lora | list[str]) -> PeftModel:
        """The base with one more set of adapters, not trained yet: what they add is 0."""
        from peft import LoraConfig, PeftModel

        key = str(source.folder)
        model = self._wrapped.get(key)
        base: PreTrainedModel
        if model is None:
            base = load_base(source, self._plan, attention=self._plan.training_attention)
            keep_end_tokens_only(base)
        else:
            base = cast("PreTrainedModel", model.get_base_model())
        targets = _targets(base, layers) if isinstance(layers, Lora) else layers
        config = LoraConfig(r=rank, lora_alpha=ALPHA, target_modules=targets, task_type="CAUSAL_LM")
        config.base_model_name_or_path = key
        with _unmerged():
            if model is None:
                model = self._wrapped[key] = PeftModel(base, config, adapter_name=name)
            else:
                model.add_adapter(name, config)
        for module in model.modules():
            if hasattr(module, "cast_input_dtype_enabled"):
                # passes run under autocast; PEFT's own casts would lift every activation to float32
                module.cast_input_dtype_enabled = False
        return model

    def _has_plain_head(self, model: PeftModel) -> bool:
        from harness.training.local.losses import autocast

        with autocast(self._plan):
            return has_plain_head(model)

    def _base(self, name: str) -> str:
        return name if Path(name).is_dir() else BUILTIN

    def _load(self, base: str, adapter: Path | None) -> LocalModel:
        with _unmerged():
            return LocalModel.load(self._resolved(base), self._plan, adapter=adapter)


@contextmanager
def _unmerged() -> Iterator[None]:
    """PEFT warns of adapters on a head that is tied to the embeddings, which could not be merged."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        yield


def _targets(base: PreTrainedModel, lora: Lora) -> list[str]:
    """The names of the layers that get adapters: attention's, the others', the head."""
    import torch

    found: set[str] = set()
    for name, module in base.get_decoder().named_modules():
        if isinstance(module, torch.nn.Linear) or hasattr(module, "base_layer"):
            if "lora_" in name or name.endswith("base_layer"):
                continue
            is_wanted = lora.train_attn if "attn" in name or "attention" in name else lora.train_mlp
            found |= {name.rpartition(".")[2]} if is_wanted else set()
    if lora.train_unembed:
        head = base.get_output_embeddings()
        found |= {name.rpartition(".")[2] for name, module in base.named_modules() if module is head}
    return sorted(found)


def _take(model: PeftModel, name: str, folder: Path) -> None:
    """Give adapters the weights of a checkpoint."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / WEIGHTS), adapter_name=name)


def _parts(data: Sequence[TrainedTokens]) -> Iterator[list[int]]:
    """Places of data of like length that go through the model together."""
    part: list[int] = []
    for k in sorted(range(len(data)), key=lambda k: len(data[k].tokens)):
        if part and (len(part) + 1) * len(data[k].tokens) > PART_TOKENS:
            yield part
            part = []
        part.append(k)
    yield part
