"""A run with a store at an address: what another machine was answered is not asked again."""

from __future__ import annotations

import shutil

import pytest
from small_project import SmallProject


@pytest.fixture
def ready(project: SmallProject) -> SmallProject:
    project.conftest()
    project.suite()
    return project


def test_another_machine_asks_nothing_again(ready: SmallProject) -> None:
    address = f"--harness-store={(ready.path / 'bucket').as_uri()}"
    assert ready.run("--candidate=good", address).status == 0
    asked = len(ready.asked)
    assert asked
    shutil.rmtree(ready.path / ".harness")
    assert ready.run("--candidate=good", address).status == 0
    assert len(ready.asked) == asked


def test_what_is_wrong_with_an_address_is_said_on_one_screen(ready: SmallProject) -> None:
    ready.run("--candidate=good", "--harness-store=ftpx://host/x").assert_one_screen(
        "ftpx", "hint: pip install"
    )
    ready.write("file", "")
    unreachable = (ready.path / "file" / "below").as_uri()
    ready.run("--candidate=good", f"--harness-store={unreachable}").assert_one_screen(
        "cannot be used", "hint: "
    )
    ready.run("--candidate=good", "--executor=ray", "--ray-task=cpu=1").assert_one_screen("--ray-task=cpu=1")
    ready.run("--candidate=good", "--executor=ray", "--ray-address=ray://a:1").assert_one_screen("Ray Client")
