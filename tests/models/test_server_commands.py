"""``Server(...)`` as users write it: which command it becomes, and what is refused at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness import Server
from harness.errors import UsageError

VLLM = ("/opt/vllm/bin/vllm", "serve")
ADAPTERS = {"a": Path("/s/a"), "b": Path("/s/b")}


def test_the_default_is_this_environments_transformers_on_this_machine_alone() -> None:
    argv = Server().argv(8123, None, {}, 1, nf4=False)
    assert argv[0] == sys.executable
    assert argv[3:] == ["serve", "--host", "127.0.0.1", "--port", "8123"]
    assert Server().argv(1, None, {}, 1, nf4=True)[-2:] == ["--quantization", "bnb-4bit"]
    assert Server().told.startswith("transformers serve 5.")


def test_vllm_loads_all_adapters_at_once_under_a_rank_that_it_takes() -> None:
    argv = Server(command=(*VLLM, "--dtype", "bfloat16")).argv(1, Path("/s/base"), ADAPTERS, 20, nf4=False)
    assert " ".join(argv) == (
        "/opt/vllm/bin/vllm serve --dtype bfloat16 /s/base --host 127.0.0.1 --port 1 --served-model-name base"
        " --enable-lora --max-lora-rank 32 --lora-modules a=/s/a b=/s/b"
    )


def test_a_base_alone_is_served_without_adapters() -> None:
    assert "--enable-lora" not in Server(command=VLLM).argv(1, Path("/s/base"), {}, 1, nf4=False)


def test_any_other_command_says_where_things_go_and_other_braces_stay() -> None:
    command = (
        "sglang",
        "--model-path={base}",
        "--port={port}",
        "--lora-paths",
        "{adapters}",
        '{"x": {"y": 1}}',
    )
    argv = Server(command=command).argv(7, Path("/m"), ADAPTERS, 8, nf4=False)
    assert argv == [
        "sglang",
        "--model-path=/m",
        "--port=7",
        "--lora-paths",
        "a=/s/a",
        "b=/s/b",
        '{"x": {"y": 1}}',
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"command": ("llama-server",)}, "{port} and {base}"),
        ({"command": ("x", "{port}", "{base}", "{modle}")}, "{modle}"),
        ({"command": ("x", "{port}", "{base}"), "url": "http://127.0.0.1:1/v1"}, "url= of a server"),
        ({"url": "http://example.com/v1"}, "https"),
        ({"url": "http://127.0.0.1:1/v1", "adapter_name": "{name}"}, "{name}"),
        ({"command": ()}, "command"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_written(given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("{", r"\{").replace("}", r"\}")):
        Server(**given)  # type: ignore[arg-type]


def test_the_version_is_read_from_the_commands_environment(tmp_path: Path) -> None:
    (tmp_path / "lib/python3.12/site-packages/vllm-0.11.2+cu129.dist-info").mkdir(parents=True)
    server = Server(command=(str(tmp_path / "bin/vllm"), "serve"))
    assert server.known_version == "0.11.2+cu129"
    assert server.told == "vllm serve 0.11.2+cu129"


def test_another_version_command_or_variable_is_another_server_and_its_values_stay_here() -> None:
    servers = [
        Server(),
        Server(version="1"),
        Server(command=VLLM, version="1"),
        Server(command=(*VLLM, "--dtype=half"), version="1"),
        Server(command=VLLM, version="1", env={"HF_TOKEN": "s3cret"}),
        Server(url="http://127.0.0.1:1/v1", version="1"),
    ]
    assert len({str(server.identity()) for server in servers}) == len(servers)
    assert not any("s3cret" in f"{server.identity()}{server.described()}" for server in servers)
    assert len({hash(server) for server in servers}) >= 5
