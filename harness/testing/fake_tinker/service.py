"""What the service answers at once: sessions, runs, checkpoints, samplers, chats, and the bill."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tinker import types

from harness.records import Json
from harness.testing.fake_openai.completions import ServedModels
from harness.testing.fake_openai.store import FakeStore, FakeTunedModel
from harness.testing.fake_tinker.backend import TinkerBackend
from harness.testing.fake_tinker.records import (
    BillingKind,
    Lora,
    Run,
    Sampler,
    Saved,
    Session,
    Usage,
    utc_now,
)
from harness.testing.fake_tinker.requests import Requests
from harness.testing.fake_tinker.wire import PROTOBUF, Refused, forward_request, parsed
from harness.testing.fake_tinker.work import TRAINING, Work

MOST_RANK = 128
TTL_S = (3_600, 10 * 366 * 86_400)


class TinkerService(Work):
    """The state of the service in a folder that outlives it. ``close`` ends its threads.

    Args:
        offered: names of the bases that there are; a local folder with a model is one too.
    """

    def __init__(self, folder: Path, backend: TinkerBackend, offered: Callable[[], Sequence[str]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(FakeStore(folder / "fake_tinker.sqlite"), backend, folder / "weights")
        self._offered = offered
        self.models = ServedModels(self.store, backend, (), self.weights)
        self.requests = Requests(self.store, self.do)

    def close(self) -> None:
        """End the threads and close the store."""
        self.requests.close()
        self.store.close()

    # ------------------------------------------------------------------- bases, sessions, runs
    def capabilities(self) -> types.GetServerCapabilitiesResponse:
        """The bases."""
        models = [
            types.SupportedModel(
                model_name=name,
                max_context_length=self._backend.context_tokens(name),
                trainable=True,
                sampleable=True,
            )
            for name in self._offered()
        ]
        return types.GetServerCapabilitiesResponse(supported_models=models)

    def begin_session(self, asked: types.CreateSessionRequest) -> types.CreateSessionResponse:
        """A new session."""
        session = Session(
            id=str(uuid.uuid4()),
            user_metadata=_texts(asked.user_metadata),
            project_id=asked.project_id,
            display_name=asked.display_name,
        )
        return types.CreateSessionResponse(session_id=self.store.put(session).id)

    def session(self, name: str, *, alive: bool = False) -> Session:
        """The session; ``alive``: which must not have ended."""
        found = self.find(Session, name)
        if alive and (found.status or {}).get("type") != "active":
            raise Refused(410, f"session {name} has ended")
        return found

    def create_model(self, body: bytes) -> types.UntypedAPIFuture:
        """A new run."""
        asked = parsed(types.CreateModelRequest, body)
        session = self.session(asked.session_id, alive=True)
        if asked.lora_config is None:
            raise Refused(400, "lora_config is missing: only adapters are trained")
        if asked.optimizer_config.type != "adamw":
            raise Refused(400, f"optimizer {asked.optimizer_config.type} is not supported here")
        if not 1 <= asked.lora_config.rank <= MOST_RANK:
            raise Refused(400, f"rank {asked.lora_config.rank} is outside 1 to {MOST_RANK}")
        self._require_base(asked.base_model)
        run = Run(
            id=f"{session.id}:train:{asked.model_seq_id}",
            session_id=session.id,
            base=asked.base_model,
            lora=Lora.model_validate(asked.lora_config.model_dump()),
            user_metadata=_texts(asked.user_metadata),
        )
        return self._begin_run(run, "create_model", body)

    def load_weights(self, body: bytes) -> types.UntypedAPIFuture:
        """Weights into a run that has begun, or into a new one."""
        asked = parsed(types.LoadWeightsRequest, body)
        saved = self.saved(asked.path)
        if saved.kind != "training":
            raise Refused(400, f"{asked.path} holds no training state: it was saved for {saved.kind}")
        if (asked.session_id is None) == (asked.model_id is None):
            raise Refused(400, "load_weights takes model_id and seq_id, or session_id and model_seq_id")
        if asked.session_id is None:
            return self._accept("load_weights", asked.model_id, asked.seq_id, body)
        session = self.session(asked.session_id, alive=True)
        if asked.optimizer_config is not None and (asked.optimizer or asked.optimizer_config.type != "adamw"):
            raise Refused(400, "optimizer_config cannot be given here")
        if asked.base_model not in (None, saved.base):
            raise Refused(400, f"{asked.path} was trained on {saved.base}")
        run = Run(
            id=f"{session.id}:train:{asked.model_seq_id}",
            session_id=session.id,
            base=saved.base,
            lora=saved.lora,
            user_metadata=_texts(asked.user_metadata),
        )
        return self._begin_run(run, "load_weights", body)

    def _begin_run(self, run: Run, kind: str, body: bytes) -> types.UntypedAPIFuture:
        if self.store.find(Run, run.id) is None:
            self.store.put(run)
        return self._accept(kind, run.id, 0, body)

    def train(self, kind: str, body: bytes) -> types.UntypedAPIFuture:
        """A step of the optimizer, or a checkpoint."""
        asked = parsed(TRAINING[kind], body)
        _require_ttl(getattr(asked, "ttl_seconds", None))
        return self._accept(kind, asked.model_id, asked.seq_id, body)

    def forward_backward(self, body: bytes) -> types.UntypedAPIFuture:
        """A pass over data."""
        asked = forward_request(body, {"content-type": PROTOBUF})
        return self._accept("forward_backward", asked.model_id, asked.seq_id, body)

    def _accept(self, kind: str, run: str | None, number: int | None, body: bytes) -> types.UntypedAPIFuture:
        found = self.find(Run, run or "")
        self.session(found.session_id, alive=True)
        if number is None or number < (kind not in ("create_model", "load_weights")):
            raise Refused(422, f"seq_id {number}: requests of a run are numbered from 1")
        self.store.put(found.model_copy(update={"last_request": utc_now()}))
        return types.UntypedAPIFuture(
            request_id=self.requests.accept(kind, found.id, number, body), model_id=found.id
        )

    def info(self, asked: types.GetInfoRequest) -> types.GetInfoResponse:
        """What a run trains."""
        run = self.find(Run, asked.model_id)
        data = types.ModelData(
            arch="local", model_name=run.base, tokenizer_id=self._backend.tokenizer(run.base)
        )
        return types.GetInfoResponse(
            type="get_info",
            model_data=data,
            model_id=run.id,
            is_lora=True,
            lora_rank=run.lora.rank,
            model_name=run.base,
        )

    # ------------------------------------------------------------------- checkpoints
    def all_saved(self, run: str = "") -> list[Saved]:
        """Checkpoints (of a run), the newest first."""
        found = [saved for saved in self.store.newest_first(Saved) if run in ("", saved.run)]
        return [saved for saved in found if saved.expires is None or saved.expires > utc_now()]

    def delete(self, path: str) -> None:
        """A checkpoint and its weights."""
        saved = self.saved(path)
        self.store.delete(saved)
        tuned = self.store.find(FakeTunedModel, path)
        if tuned is not None:
            self.store.delete(tuned)
        shutil.rmtree(self.weights / saved.folder, ignore_errors=True)

    def expire(self, path: str, seconds: int | None) -> None:
        """When a checkpoint ends."""
        _require_ttl(seconds)
        self.store.put(self.saved(path).lives_for(seconds))

    def weights_info(self, path: str) -> types.WeightsInfoResponse:
        """What a checkpoint was trained as."""
        saved = self.saved(path)
        lora = saved.lora
        return types.WeightsInfoResponse(
            base_model=saved.base,
            is_lora=True,
            lora_rank=lora.rank,
            train_unembed=lora.train_unembed,
            train_mlp=lora.train_mlp,
            train_attn=lora.train_attn,
        )

    # ------------------------------------------------------------------- samplers, chats
    def begin_sampler(self, asked: types.CreateSamplingSessionRequest) -> types.CreateSamplingSessionResponse:
        """A base, or a checkpoint, that answers."""
        session = self.session(asked.session_id, alive=True)
        base = asked.base_model
        if asked.model_path is not None:
            base = self._sampled(asked.model_path).base
        if base is None:
            raise Refused(400, "a sampling session needs base_model or model_path")
        self._require_base(base)
        name = f"{session.id}:sample:{asked.sampling_session_seq_id}"
        sampler = self.store.put(Sampler(id=name, session_id=session.id, base=base, path=asked.model_path))
        return types.CreateSamplingSessionResponse(sampling_session_id=sampler.id)

    def sample(self, body: bytes) -> types.UntypedAPIFuture:
        """Sequences after a prompt."""
        asked = parsed(types.SampleRequest, body)
        if asked.sampling_session_id is None or asked.seq_id is None:
            raise Refused(400, "asample takes sampling_session_id and seq_id here")
        sampler = self.find(Sampler, asked.sampling_session_id)
        self.session(sampler.session_id, alive=True)
        unsupported = ("topk_prompt_logprobs", "topk_sample_logprobs", "target_prompt_logprobs")
        for name in (*unsupported, "prompt_alt_tokens_k"):
            if getattr(asked, name):
                raise Refused(400, f"{name} is not supported here")
        if asked.num_samples < 1:
            raise Refused(422, "num_samples has to be 1 or more")
        request_id = self.requests.accept("asample", sampler.id, asked.seq_id, body)
        names = [f"{request_id}:{k}" for k in range(asked.num_samples)]
        return types.UntypedAPIFuture(request_id=request_id, sample_sequence_ids=names)

    def chat(self, body: dict[str, Json]) -> dict[str, Json]:
        """A chat as OpenAI's API has it, by a base or ``[base;]tinker://...``.

        Raises:
            HTTPRefusal: as OpenAI's API refuses.
        """
        model = str(body.get("model"))
        path = model.rpartition(";")[2]
        if path.startswith("tinker://"):
            base = self._sampled(path).base
        else:
            base = path
            self._require_base(base)
        self.models.add_aliases([base])
        answer: dict[str, Json] = self.models.chat({**body, "model": path}).model_dump(mode="json")
        usage = answer["usage"]
        if isinstance(usage, dict):
            self.bill("", base, "sampling_prefill", int(str(usage["prompt_tokens"])))
            self.bill("", base, "sampling_sample", int(str(usage["completion_tokens"])))
        return {**answer, "model": model}

    def _sampled(self, path: str) -> Saved:
        saved = self.saved(path)
        if saved.kind != "sampler":
            raise Refused(400, f"{path} was not saved for sampling")
        return saved

    def _require_base(self, name: str) -> None:
        if name not in self._offered() and not (Path(name) / "config.json").is_file():
            raise Refused(400, f"base_model {name} is not supported")

    # ------------------------------------------------------------------- bills
    def billed(self) -> dict[BillingKind, int]:
        """Tokens by kind, over all time."""
        found: dict[BillingKind, int] = {"training": 0, "sampling_prefill": 0, "sampling_sample": 0}
        for usage in self.store.newest_first(Usage):
            found[usage.kind] += usage.tokens
        return found

    def usage(self, asked: types.GetBillingUsageRequest) -> types.BillingUsageResponse:
        """The hours of a window."""
        if asked.ending_before - asked.starting_on > timedelta(days=14):
            raise Refused(422, "the window is longer than 14 days")
        within = [
            u for u in self.store.newest_first(Usage) if asked.starting_on <= u.hour < asked.ending_before
        ]
        events: list[Json] = [
            {
                "bucket_start": usage.hour.isoformat(),
                "bucket_end": (usage.hour + timedelta(hours=1)).isoformat(),
                "base_model": usage.base,
                "session_id": usage.session_id or None,
                "event_info": {
                    "type": usage.kind,
                    "token_count": usage.tokens,
                    **({"cached": False} if usage.kind == "sampling_prefill" else {}),
                },
            }
            for usage in sorted(within, key=lambda u: (u.hour, -u.tokens))
        ]
        sessions = {u.session_id: self.find(Session, u.session_id) for u in within if u.session_id}
        known: dict[str, Json] = {
            name: {"user_metadata": dict(session.user_metadata)} for name, session in sessions.items()
        }
        return types.BillingUsageResponse.model_validate({"data": events, "sessions": known})


def _require_ttl(seconds: int | None) -> None:
    if seconds is not None and not TTL_S[0] <= seconds <= TTL_S[1]:
        raise Refused(422, f"ttl_seconds {seconds} is outside {TTL_S[0]} to {TTL_S[1]}")


def _texts(given: dict[str, Any] | None) -> dict[str, str]:
    return {key: str(value) for key, value in (given or {}).items()}
