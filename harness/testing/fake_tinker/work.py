"""What is done with accepted requests, in their turn: training, checkpoints, samples, and the bill."""

from __future__ import annotations

import math
from operator import mul
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from tinker import types
from tinker.types.save_weights_external_request import SaveWeightsExternalRequest

from harness.records import Json
from harness.testing.fake_openai.store import FakeStore, FakeTunedModel, R, now
from harness.testing.fake_tinker.backend import AdamStep, Sampling, TinkerBackend, UserError
from harness.testing.fake_tinker.records import (
    SEGMENTS,
    BillingKind,
    Kind,
    Run,
    Sampler,
    Saved,
    Usage,
    utc_now,
)
from harness.testing.fake_tinker.requests import Answer, Doing
from harness.testing.fake_tinker.wire import (
    PROTOBUF,
    Refused,
    forward_output,
    forward_request,
    parsed,
    sample_output,
    trained_tokens,
)

_Training: TypeAlias = (
    types.OptimStepRequest
    | types.SaveWeightsRequest
    | types.SaveWeightsForSamplerRequest
    | SaveWeightsExternalRequest
)
TRAINING: dict[str, type[_Training]] = {
    "optim_step": types.OptimStepRequest,
    "save_weights": types.SaveWeightsRequest,
    "save_weights_for_sampler": types.SaveWeightsForSamplerRequest,
    "save_weights_external": SaveWeightsExternalRequest,
}
KINDS: dict[str, Kind] = {
    "save_weights": "training",
    "save_weights_for_sampler": "sampler",
    "save_weights_external": "external",
}


class Work:
    """Does requests with a backend; ``weights`` is the folder of all checkpoints' weights."""

    def __init__(self, store: FakeStore, backend: TinkerBackend, weights: Path) -> None:
        self.store, self.weights = store, weights
        self._backend, self._billing = backend, Lock()

    def find(self, kind: type[R], name: str) -> R:
        """The record of that id, or a refusal."""
        found = self.store.find(kind, name)
        if found is None:
            raise Refused(404, f"no {kind.__name__.lower()} {name}")
        return found

    def saved(self, path: str) -> Saved:
        """The checkpoint, or a refusal."""
        found = self.store.find(Saved, path)
        if found is None or (found.expires is not None and found.expires <= utc_now()):
            raise Refused(404, f"no checkpoint {path}")
        return found

    def do(self, doing: Doing) -> Answer:
        """A request of a run or a sampler."""
        match doing.kind:
            case "create_model":
                return self._create(doing)
            case "load_weights":
                return self._load(doing)
            case "forward_backward":
                return self._pass(doing)
            case "optim_step":
                return self._step(doing)
            case "asample":
                return self._sample(doing)
            case _:
                return self._save(doing)

    def _create(self, doing: Doing) -> Answer:
        run = self.find(Run, doing.owner)
        self._backend.create(run.id, run.base, run.lora)
        return types.CreateModelResponse(model_id=run.id).model_dump(mode="json")

    def _load(self, doing: Doing) -> Answer:
        asked = parsed(types.LoadWeightsRequest, doing.body)
        run, saved = self.find(Run, doing.owner), self.saved(asked.path)
        if (run.base, run.lora.rank) != (saved.base, saved.lora.rank):
            raise UserError(f"{asked.path} is of {saved.base}, rank {saved.lora.rank}")
        if doing.number == 0:
            self._backend.create(run.id, run.base, run.lora)
        self._backend.load(run.id, self.weights / saved.folder, optimizer=asked.optimizer)
        answer = types.LoadWeightsResponse(path=asked.path, model_id=run.id, type="load_weights")
        return answer.model_dump(mode="json")

    def _pass(self, doing: Doing) -> Answer:
        asked = forward_request(doing.body, {"content-type": PROTOBUF})
        data, run = trained_tokens(asked), self.find(Run, doing.owner)
        most, longest = self._backend.context_tokens(run.base), max(len(datum.tokens) for datum in data)
        if longest > most:
            raise UserError(f"a datum has {longest} tokens, more than the {most} of {run.base}")
        logprobs = self._backend.forward(run.id, data, backward=not asked.forward_only)
        loss = -sum(sum(map(mul, d.weights, row)) for d, row in zip(data, logprobs, strict=True))
        if not doing.again:
            self.bill(run.session_id, run.base, "training", sum(len(datum.tokens) for datum in data))
        return forward_output(logprobs, {"loss:sum": loss})

    def _step(self, doing: Doing) -> Answer:
        params = parsed(types.OptimStepRequest, doing.body).optim_params
        if not isinstance(params, types.AdamParams):
            raise UserError(f"a run of adamw takes no {params.type}")
        step = AdamStep(
            params.learning_rate,
            (params.beta1, params.beta2),
            params.eps,
            params.weight_decay,
            params.grad_clip_norm,
        )
        metrics = self._backend.step(doing.owner, step)
        return types.OptimStepResponse(metrics=metrics).model_dump(mode="json")

    def _save(self, doing: Doing) -> Answer:
        asked = parsed(TRAINING[doing.kind], doing.body)
        kind = KINDS[doing.kind]
        run = self.find(Run, doing.owner)
        name = getattr(asked, "path", None) or f"{doing.number:06d}"
        if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
            raise UserError(f"a checkpoint cannot be named {name!r}")
        path = f"tinker://{run.id}/{SEGMENTS[kind]}/{name}"
        is_free = doing.again or getattr(asked, "overwrite", kind != "training")
        if not is_free and self.store.find(Saved, path) is not None:
            raise UserError(f"{path} is there already: give overwrite=True")
        folder = f"{run.id.replace(':', '-')}/{SEGMENTS[kind]}/{name}"
        if not doing.again:
            (self.weights / folder).mkdir(parents=True, exist_ok=True)
            self._backend.save(run.id, self.weights / folder, optimizer=kind == "training")
            size = sum(file.stat().st_size for file in (self.weights / folder).iterdir())
            saved = Saved(
                id=path,
                run=run.id,
                kind=kind,
                base=run.base,
                lora=run.lora,
                folder=folder,
                size=size,
                user_metadata=getattr(asked, "user_metadata", None),
            )
            self.store.put(saved.lives_for(getattr(asked, "ttl_seconds", None)))
            if kind == "sampler":
                self.store.put(FakeTunedModel(id=path, created_at=now(), base=run.base, weights=folder))
        if kind == "training":
            return types.SaveWeightsResponse(path=path, type="save_weights").model_dump(mode="json")
        if kind == "external":
            return {"path": path, "size_bytes": self.find(Saved, path).size, "type": "save_weights_external"}
        number = getattr(asked, "sampling_session_seq_id", None)
        answer: dict[str, Json] = {"path": path, "type": "save_weights_for_sampler"}
        if number is not None:
            sampler = Sampler(
                id=f"{run.session_id}:sample:{number}", session_id=run.session_id, base=run.base, path=path
            )
            answer |= {"path": None, "sampling_session_id": self.store.put(sampler).id}
        return answer

    def _sample(self, doing: Doing) -> Answer:
        asked = parsed(types.SampleRequest, doing.body)
        sampler = self.find(Sampler, doing.owner)
        params, base = asked.sampling_params, sampler.base
        folder = self.weights / self.saved(sampler.path).folder if sampler.path else None
        if not all(isinstance(chunk, types.EncodedTextChunk) for chunk in asked.prompt.chunks):
            raise UserError("only text is supported here")
        prompt = asked.prompt.to_ints()
        most = self._backend.context_tokens(base) - len(prompt)
        wanted = most if params.max_tokens is None else params.max_tokens
        if not prompt or not 1 <= wanted <= most:
            raise UserError(f"{len(prompt)} tokens of prompt and {wanted} to draw do not fit into {base}")
        stops = (params.stop,) if isinstance(params.stop, str) else params.stop
        how = Sampling(
            max_tokens=wanted,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            seed=params.seed,
            stops=None if stops is None else tuple(stops),
        )
        sequences = self._backend.sample(base, folder, prompt, how, asked.num_samples)
        scores: list[float] | None = None
        if asked.prompt_logprobs:
            scores = [math.nan, *self._backend.logprobs(base, folder, prompt)]
            if asked.prompt_logprobs_last_n is not None:
                unread = len(prompt) - asked.prompt_logprobs_last_n
                scores = [math.nan] * unread + scores[unread:]
        self.bill(sampler.session_id, base, "sampling_prefill", len(prompt))
        self.bill(sampler.session_id, base, "sampling_sample", sum(len(s.tokens) for s in sequences))
        return sample_output(sequences, scores)

    def bill(self, session: str, base: str, kind: BillingKind, tokens: int) -> None:
        """Tokens that were used."""
        hour = utc_now().replace(minute=0, second=0, microsecond=0)
        name = f"{hour.isoformat()} {session} {base} {kind}"
        with self._billing:
            usage = self.store.find(Usage, name) or Usage(
                id=name, hour=hour, session_id=session, base=base, kind=kind
            )
            self.store.put(usage.model_copy(update={"tokens": usage.tokens + tokens}))
