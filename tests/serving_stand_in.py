"""A stand-in for an OpenAI-compatible server of one's own: real templates and tokens, and answers by rule.

``python serving_stand_in.py --port 8000 --base FOLDER [--fault NAME] [NAME=FOLDER ...]``
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from jinja2 import Environment
from tokenizers import Tokenizer

END = "<|im_end|>"
# the faults that a server can have
FAULTS = (
    "no-system",
    "no-generation",
    "other-template",
    "stray-end",
    "runs-on",
    "base",
    "other-adapter",
    "dies",
)


@cache
def _tokenizer(file: str) -> Tokenizer:
    return Tokenizer.from_file(file)


def answer_of(name: str, question: str) -> str:
    """What the model of that name says: another for each, so that the wrong one is seen."""
    key = sum(map(ord, question)) + 7 * sum(map(ord, name))
    words = ("Your", "order", "is", "on", "its", "way", "the", "refund", "takes", "three", "days")
    return " ".join(words[key * k % 11] for k in range(1, 9))


class StandIn:
    """Serves ``models`` (names with their folders) on this machine; a context manager."""

    def __init__(
        self,
        models: dict[str, Path],
        *,
        fault: str = "",
        tells: str = "tokens",
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        self.models, self.fault, self.tells = dict(models), fault, tells
        self.requests: list[tuple[str, str]] = []
        stand = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                stand.requests.append(("GET", self.path))
                listed = {"data": [{"id": name, "object": "model"} for name in stand.models]}
                self.reply(200, {"/health": {}, "/v1/models": listed}.get(self.path))

            def do_POST(self) -> None:
                stand.requests.append(("POST", self.path))
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.reply(200, stand.posted(self.path, body))

            def reply(self, status: int, content: object) -> None:
                sent = json.dumps({"error": "not found"} if content is None else content).encode()
                self.send_response(404 if content is None else status)
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

        self.server = ThreadingHTTPServer((host, port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> StandIn:
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def prompt(self, body: dict[str, Any]) -> tuple[str, list[int]]:
        folder = next(iter(self.models.values()))
        turns, follows = body["messages"], self.fault != "no-generation"
        if self.fault == "no-system":
            turns = [turn for turn in turns if turn["role"] != "system"]
        template = (folder / "chat_template.jinja").read_text("utf-8")
        if self.fault == "other-template":
            template = template.replace("<|im_start|>' + m", "### ' + m")
        text = Environment().from_string(template).render(messages=turns, add_generation_prompt=follows)
        return text, _tokenizer(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids

    def posted(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        if path == "/v1/load_lora_adapter":
            self.models[body["lora_name"]] = Path(body["lora_path"])
            return {"status": "ok"}
        if path == "/tokenize" and self.tells == "tokens":
            return {"tokens": self.prompt(body)[1]}
        if path == "/apply-template" and self.tells == "text":
            return {"prompt": self.prompt(body)[0]}
        if path != "/v1/chat/completions" or body["model"] not in self.models:
            return None
        if self.fault == "dies":
            sys.stderr.write("the card has no memory left\n")
            os._exit(3)
        name = {"base": "base", "other-adapter": "other"}.get(self.fault, "tuned")
        text, finish = answer_of(name, body["messages"][-1]["content"]), "stop"
        if self.fault == "stray-end":
            text += END
        if self.fault == "runs-on":
            text, finish = f"{text}\nuser\n{text}", "length"
        usage = {} if self.tells == "nothing" else {"usage": {"prompt_tokens": len(self.prompt(body)[1])}}
        choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
        return {"id": "1", "object": "chat.completion", "model": body["model"], "choices": [choice], **usage}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--base", required=True)
    parser.add_argument("--fault", default="")
    parser.add_argument("adapters", nargs="*")
    given = parser.parse_args()
    if given.fault == "refuses":
        sys.stdout.write("".join(f"line {k}\n" for k in range(100)))
        sys.exit("unknown architecture: LlamaForNobody")
    if given.fault == "slow":
        time.sleep(60)
    if given.fault == "has-children":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("child.pid").write_text(str(child.pid))
    Path("environment.json").write_text(json.dumps(dict(os.environ)))
    adapters = {name: Path(folder) for name, _, folder in (each.partition("=") for each in given.adapters)}
    with StandIn({"base": Path(given.base), **adapters}, fault=given.fault, port=given.port, host=given.host):
        time.sleep(600)


if __name__ == "__main__":
    main()
