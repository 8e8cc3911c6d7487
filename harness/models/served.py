"""Local weights that a server answers for: the folder that it is given, and the model that is asked there.

The folder is what ``harness export`` writes, with links to the base's weights: the adapter, the tokenizer
with the template that holds what training and answering here add, and the end tokens alone of all
generation settings. So a server that is sent messages makes the prompts that the library makes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.atomic import build_atomically
from harness.data.convert import message_json
from harness.data.fingerprints import fingerprint
from harness.errors import ModelError
from harness.models.chat_format import Chat
from harness.models.profiles import REHEARSAL_KEY
from harness.models.progress import Progress
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import OpenRemoteModel, RemoteModel
from harness.models.server import BASE_NAME, Server
from harness.models.server_process import Launch, ServerProcess, Servers
from harness.models.shipped_template import save_tokenizer
from harness.models.source import ModelSource
from harness.records import Answer, Json

if TYPE_CHECKING:
    from openai._types import RequestOptions
    from transformers import GenerationConfig

ROOM = 2  # times the base's weights, for the library to answer a few rows
FORM = 1  # of the folder; another one is written anew, and answered anew
# a base's own, in place of which the folder has others; and records of the store
_LEFT_OUT = frozenset(
    (
        *("chat_template.jinja", "chat_template.json", "config.json", "generation_config.json"),
        *("tokenizer.json", "tokenizer_config.json", "manifest.json", "training.json", "README.md"),
        "adapter_config.json",
    )
)


@dataclass(frozen=True)
class Weights:
    """What is served.

    Args:
        source: the base.
        key: of all that shaped the weights.
        adapter: the folder of a PEFT adapter on the base; None: there is none.
        folder: gives that of the whole model, where that is not the base's.
        nf4: whether the base is quantised to 4 bits under the adapter.
        dtype: that the library computes in; servers take the one that ``config.json`` names.
    """

    source: ModelSource
    key: str
    adapter: Path | None = None
    folder: Callable[[], Path] | None = None
    nf4: bool = False
    dtype: str = "bfloat16"

    @property
    def rank(self) -> int:
        """Of the adapter."""
        assert self.adapter is not None
        return int(json.loads((self.adapter / "adapter_config.json").read_text("utf-8"))["r"])


def served_folder(store: Path, weights: Weights, chat: Chat) -> Path:
    """The folder that is served, written where it is not there."""
    shaped = {"form": FORM, "key": weights.key, "base": weights.source.digest, "thinks": chat.thinks}
    shaped["dtype"] = weights.dtype
    folder = store / f"served-{fingerprint(shaped)[:16]}"

    def build(part: Path) -> None:
        whole = weights.source.folder if weights.folder is None else weights.folder()
        for file in sorted(whole.iterdir()):
            if file.is_file() and file.name not in _LEFT_OUT:
                (part / file.name).symlink_to(file.resolve())
        if weights.adapter is not None:
            (part / "adapter_model.safetensors").symlink_to(
                (weights.adapter / "adapter_model.safetensors").resolve()
            )
            config = json.loads((weights.adapter / "adapter_config.json").read_text("utf-8"))
            config["base_model_name_or_path"], config["revision"] = str(weights.source.folder.resolve()), None
            (part / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
        config = json.loads((whole / "config.json").read_text("utf-8"))
        config["torch_dtype" if "torch_dtype" in config else "dtype"] = weights.dtype
        (part / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
        ends_alone(chat).save_pretrained(part)
        save_tokenizer(chat, part)

    if folder.is_dir() and not all(
        file.exists() for file in folder.iterdir()
    ):  # a link leads nowhere any more
        folder.rename(folder.with_name(f"{folder.name}.damaged-{os.getpid()}"))
    return build_atomically(folder, build)


def ends_alone(chat: Chat, *, drawn: bool = False) -> GenerationConfig:
    """Its end tokens, and none of the base's own defaults: answers here were not drawn with them."""
    from transformers import GenerationConfig

    tokenizer = chat.tokenizer
    return GenerationConfig(
        do_sample=drawn,
        eos_token_id=list(chat.ends),
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


@dataclass(frozen=True)
class Service:
    """Weights on a server, ready to be asked for."""

    server: Server
    weights: Weights
    servers: Servers
    progress: Progress
    store: Path  # where folders that are served lie
    chat: Callable[[], Chat]
    url_name: str = ""  # its name on a server that runs already

    def folder(self, *, base: bool = False) -> Path:
        """What is served; with ``base``, what an adapter lies on."""
        weights = self.weights
        if base and weights.adapter is not None:
            weights = Weights(weights.source, weights.source.digest, dtype=weights.dtype)
        return served_folder(self.store, weights, self.chat())

    def at(self, name: str, url: str) -> RemoteModel:
        """The model as it is asked under that name and address."""
        server = self.server
        return RemoteModel(
            name,
            base_url=url,
            api_key_env=server.api_key_env or (REHEARSAL_KEY if server.url is None else None),
            profile="compatible",
            concurrency=server.calls_at_once,
            completions=False,
            timeout_s=server.timeout_s,
            version=server.known_version,
        )

    @property
    def anywhere(self) -> RemoteModel:
        """It, for keys and for what is known without a server."""
        return self.at(self.url_name or BASE_NAME, self.server.url or "http://127.0.0.1/v1")

    def make_room(self) -> None:
        """Let the server go where its card has no room for the base beside it."""
        import torch

        if torch.cuda.is_available():
            held = sum(file.stat().st_size for file in self.weights.source.folder.glob("*.safetensors"))
            if torch.cuda.mem_get_info()[0] < ROOM * held:
                self.servers.end()

    def know(self) -> None:
        """Tell that an adapter is there, so that it is loaded with the others."""
        if self.weights.adapter is not None and self.server.url is None and not self.server.by_folder:
            self.servers.waiting.append(self._know)  # its folder takes a tokenizer, which is not for threads

    def _know(self) -> None:
        folder = self.folder()
        self.servers.know(self._launch(), folder.name, folder, self.weights.rank)

    def open(self) -> ServedModel:
        """The model, its server started where it does not run.

        Raises:
            ModelError: it does not start, or has no such model.
        """
        folder = self.folder()
        if self.server.url is not None:
            model = self.at(self.url_name, self.server.url)
            self._require_listed(model, folder)
            return ServedModel(model.open(), None)
        while self.servers.waiting:
            self.servers.waiting.pop()()
        launch = self._launch()
        is_named = self.server.by_folder or self.weights.adapter is not None
        name = folder.name if is_named else BASE_NAME
        process = self.servers.serving(launch, name, self.progress)
        if not self.server.by_folder:
            name = self._listed(self.at(name, process.url), process)
        return ServedModel(self.at(name, process.url).open(), process)

    def _launch(self) -> Launch:
        nf4 = self.weights.nf4
        if self.server.by_folder:
            return Launch(self.server, None, self.store, nf4)
        return Launch(self.server, self.folder(base=True), self.store, nf4)

    def _listed(self, model: RemoteModel, process: ServerProcess) -> str:
        """The name that the server has for it: a server that was told none has one model."""
        found = listed_models(model)
        if model.model in found or not found:
            return model.model
        if self.weights.adapter is None and len(found) == 1:
            return found[0]
        raise process.failed(f"it has no model {model.model}, but {', '.join(found[:8])}")

    def _require_listed(self, model: RemoteModel, folder: Path) -> None:
        found = listed_models(model)
        if found and model.model not in found:
            given = "adapter_name" if self.weights.adapter is not None else "base_name"
            raise ModelError(
                f"{self.server.told} has no model {model.model!r}; it has {', '.join(found[:8])}.\n"
                f"  hint: serve {folder} there under that name (vLLM: --lora-modules"
                f" {model.model}={folder}), or say the name that it has by Server({given}=…)."
            )


def listed_models(model: RemoteModel) -> list[str]:
    """The names that the server gives at ``/models``; none where it does not tell."""
    from openai import OpenAIError

    try:
        with model.endpoint.client() as client:
            return [one.id for one in client.models.list().data or ()]
    except (OpenAIError, TypeError) as error:
        failed = type(error).__name__
        if failed in ("APIConnectionError", "AuthenticationError", "PermissionDeniedError"):
            raise ModelError(f"{model.url}: it does not answer ({failed}).") from error
        return []


def served_decoding(decoding: Decoding) -> Decoding:
    """The settings as they are sent: whether it thinks stands in the template of the folder."""
    room = decoding.max_thinking_tokens if decoding.thinking else 0
    return replace(decoding, thinking=None, max_new_tokens=decoding.max_new_tokens + room)


@dataclass
class ServedModel:
    """A model on a server. See ``models.protocol.Model``."""

    remote: OpenRemoteModel
    process: ServerProcess | None  # that runs here
    _tells: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self.numeric_config = self.remote.numeric_config

    @property
    def note(self) -> str:
        """See ``Interruptible``."""
        return self.remote.note

    def late(self) -> Sequence[Answer]:
        """See ``Interruptible``."""
        return self.remote.late()

    def logprob(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Not offered: raises ``ModelError``."""
        return self.remote.logprob(pairs)

    def answer(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Generator[Answer, None, None]:
        """See ``Model``.

        Raises:
            ModelError: the server has ended, with its last lines.
        """
        try:
            for answer in self.remote.answer(prompts, served_decoding(decoding), known):
                if answer.failure is not None:
                    self._require_alive()
                yield answer
        except ModelError:
            self._require_alive()
            raise

    def _require_alive(self) -> None:
        if self.process is not None and not self.process.is_alive:
            raise self.process.failed("it has ended while it answered")

    def told_prompt(self, prompt: Prompt) -> list[int] | str | int | None:
        """What its template makes of a prompt, as far as it tells: tokens, text, how many tokens, or None.

        Tokens: vLLM's ``/tokenize``; text: llama.cpp's ``/apply-template``; how many: ``usage`` of an answer
        of one token.
        """
        messages: Json = [message_json(replace(m, weight=1)) for m in prompt.messages]
        body: dict[str, Json] = {"model": self.remote.spec.model, "messages": messages}
        if prompt.tools is not None:
            body["tools"] = [dict(each) for each in prompt.tools.definitions]
        root = self.remote.spec.url.removesuffix("/v1")
        if self._tells:
            for path in ("/tokenize", "/apply-template"):
                found = self._posted(f"{root}{path}", {**body, "add_generation_prompt": True})
                tokens, text = found.get("tokens"), found.get("prompt")
                if isinstance(tokens, list) and all(isinstance(one, int) for one in tokens):
                    return tokens
                if isinstance(text, str):
                    return text
            self._tells = False
        found = self._posted(f"{root}/v1/chat/completions", {**body, "max_tokens": 1, "temperature": 0.0})
        usage = found.get("usage")
        count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return count if isinstance(count, int) and count > 0 else None

    def _posted(self, url: str, body: dict[str, Json]) -> dict[str, Json]:
        """The reply as an object; empty where there is none."""
        from httpx2 import Response
        from openai import OpenAIError

        options: RequestOptions = {"security": {"bearer_auth": True}}
        try:
            with self.remote.spec.endpoint.client() as client:
                found = client.post(url, body=body, cast_to=Response, options=options).json()
        except (OpenAIError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
