"""A server that is started here: ready before it is asked, told of where it fails, ended with its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import serving_stand_in

from harness import Server
from harness.errors import ModelError
from harness.models.progress import Silent
from harness.models.server_process import Launch, ServerProcess, Servers

STAND_IN = str(Path(serving_stand_in.__file__))
COMMAND = (sys.executable, STAND_IN, "--port", "{port}", "--base", "{base}")


def launch(home: Path, *more: str, **given: object) -> Launch:
    server = Server(command=(*COMMAND, *more), **given)  # type: ignore[arg-type]
    return Launch(server, home / "base", home)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def is_gone(pid: int) -> bool:
    for _ in range(100):
        if not is_running(pid):
            return True
        time.sleep(0.05)
    return False


def test_it_is_shown_no_key_and_ends_with_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    monkeypatch.setenv("OPENAI_API_KEY_2", "s3cret")
    process = ServerProcess(launch(tmp_path, "--fault", "has-children", env={"OWN": "1"}), {}, 1, Silent())
    assert process.get("/health").status_code == 200
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["OWN"] == environment["HF_HUB_OFFLINE"] == "1"
    assert not {"OPENAI_API_KEY", "OPENAI_API_KEY_2", "HF_TOKEN"} & set(environment)
    child = int((tmp_path / "child.pid").read_text())
    process.end()
    assert not process.is_alive
    assert is_gone(child)


def test_one_that_does_not_start_shows_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        ServerProcess(launch(tmp_path, "--fault", "refuses"), {}, 1, Silent())
    said = str(raised.value).splitlines()
    assert "ended with status 1" in said[0]
    assert said[-1] == "  | unknown architecture: LlamaForNobody"
    assert len(said) <= 22


def test_one_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not ready within 0.3 s \(ready_s\)"):
        ServerProcess(launch(tmp_path, "--fault", "slow", ready_s=0.3), {}, 1, Silent())


def test_one_that_other_machines_reach_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"listens on 0\.0\.0\.0"):
        ServerProcess(launch(tmp_path, "--host", "0.0.0.0"), {}, 1, Silent())


@pytest.mark.parametrize("forks", [False, True], ids=["alone", "with a fork that lives on"])
def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path, forks: bool) -> None:
    """A fork holds the parent's end of the guard's standard input."""
    script = f"""
import os
import time
from pathlib import Path
from test_server_life import launch
from harness.models.progress import Silent
from harness.models.server_process import ServerProcess
process = ServerProcess(launch(Path({str(tmp_path)!r}), "--fault", "has-children"), {{}}, 1, Silent())
if {forks} and not (fork := os.fork()):
    os.close(1)
    time.sleep(15)
    os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""
    paths = [*sys.path, str(Path(__file__).parent), str(Path(STAND_IN).parent)]
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    child = int((tmp_path / "child.pid").read_text())
    assert is_running(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert is_gone(child)


def test_adapters_are_loaded_at_once_and_later_ones_without_a_new_start(tmp_path: Path) -> None:
    servers, start = Servers(), launch(tmp_path, "{adapters}")
    servers.know(start, "small", tmp_path / "small", 8)
    servers.know(start, "large", tmp_path / "large", 8)
    first = servers.serving(start, "small", Silent())
    assert [one["id"] for one in first.get("/v1/models").json()["data"]] == ["base", "small", "large"]
    servers.know(start, "later", tmp_path / "later", 8)
    assert servers.serving(start, "later", Silent()) is first
    assert first.get("/v1/models").json()["data"][-1]["id"] == "later"
    servers.know(start, "wider", tmp_path / "wider", 64)  # more than the rank that it was started with
    second = servers.serving(start, "wider", Silent())
    assert second is not first
    assert not first.is_alive
    assert second.rank == 64
    servers.end()
    assert not second.is_alive
