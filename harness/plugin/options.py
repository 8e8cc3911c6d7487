"""Options with their ini keys, read once; and the candidates of the conftests."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import pytest

from harness.errors import HarnessError, UsageError
from harness.plugin.messages import usage_error
from harness.plugin.state import STATE, State
from harness.plugin.workers import is_worker, worker_settings
from harness.settings import parse_settings, require_known_variables

OPTIONS = {
    "candidate": ("append", "try this candidate; may repeat and be a glob"),
    "baseline": (
        "store",
        "compare with this candidate (default: the candidate's own base with the suite's prompt)",
    ),
    "sizes": ("store", "training rows of the learning curve, such as 50,100,200,400 (default: all rows)"),
    "train-seeds": (
        "store",
        "training seeds, such as 0,1,2; of several, the verdict speaks of the recipe (default: 0)",
    ),
    "gate": (
        "store",
        "release: anything but GO fails the run (default); regression: only a refuted gate does",
    ),
    "ladder-order": ("store", "rungs of --ladder, the cheapest first, such as few-shot-5,qlora-r16"),
    "plan": ("store_true", "show what a run would do, and what its rows can show; do nothing"),
    "final": ("store_true", "judge the gates on the suites' final= rows"),
    "fresh": ("store_true", "ask candidates, baselines and judges again, whatever answers are kept"),
    "max-interim-looks": (
        "store",
        "stop judging early on a clear answer, at up to so many looks (default: 1, judge every row)",
    ),
    "max-usd": ("store", "most that hosted models may cost in this run, in US dollars (default: no cap)"),
    "executor": (
        "store",
        "where trainings run: local (a process each), inline, ray, or module:Class (default: local)",
    ),
    "ray-address": (
        "store",
        "cluster of --executor=ray (default: RAY_ADDRESS, else one of this machine is started)",
    ),
    "ray-task": (
        "store",
        "what one training has of a Ray node, such as cpus=4,gpus=0.5,memory=16GB"
        " (default: a GPU, or all CPUs of the smallest node)",
    ),
    "harness-store": (
        "store",
        "folder for adapters and answers (default: .harness), or where several machines share them:"
        " an address such as s3://bucket/path",
    ),
    "report-dir": ("store", "folder for reports (default: reports)"),
    "reference-run": (
        "append",
        "run.json of an earlier run, such as a committed one: its uses of held-out rows count; may repeat",
    ),
    "against": (
        "store",
        "hold every gate's score to this reference run as well: the file that --bless wrote, or a run.json",
    ),
    "against-margin": (
        "store",
        "what a score may lose against the reference run, where no guard says (default: 0.05, 5 points)",
    ),
    "bless-why": ("store", "why this candidate is the new reference, for --bless"),
}
BLESS = (
    "after a GO, write what it scored as the reference run that --against compares with"
    " (default: reference.json beside the suites)"
)
REHEARSE = (
    "ask a local stand-in of the service in place of hosted models, without a key or money: it answers by"
    " script (the default), or trains for real with --rehearse=train"
)
LADDER = (
    "try candidates from the cheapest up, and end at the first whose gates all hold; --ladder=all tries all"
)
MODES = {
    "rehearse": (REHEARSE, ("script", "train")),
    "ladder": (LADDER, ("first", "all")),
    "bless": (BLESS, ("yes",)),
}
LIST = "list the candidates: where each is defined, and which folder it serves"
ALIASES = {"train-seeds": ("--seeds",), "max-interim-looks": ("--judge-looks",)}
OLD_INI_KEYS = {"max-interim-looks": "harness_judge_looks"}
INI_TYPES: dict[str, Literal["linelist", "string", "bool"]] = {
    "append": "linelist",
    "store": "string",
    "store_true": "bool",
}


class _Mode(argparse.Action):
    """``--ladder`` or ``--ladder=MODE``; in ``--ladder suites/`` the next argument is still a path."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        modes = MODES[self.dest.removeprefix("harness_")][1]
        is_path = (
            values not in (*modes, "")
            and not str(values).endswith(".json")
            and Path(str(values).partition("::")[0]).exists()
        )
        setattr(namespace, self.dest, modes[0] if is_path else values)
        if is_path:
            setattr(namespace, PATHS_AFTER, [*(getattr(namespace, PATHS_AFTER, None) or []), str(values)])


#: what libraries say of their own code, or of each other's: no user can mend it
DEPRECATED = ("DeprecationWarning:torch", "FutureWarning:transformers", "DeprecationWarning:bpe_openai")
PATHS_AFTER = "harness_paths_after_modes"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and their ini keys (``--sizes`` is ``harness_sizes``)."""
    group = parser.getgroup("harness", "fine-tuning decisions")
    for name, (action, text) in OPTIONS.items():
        names = (f"--{name}", *ALIASES.get(name, ()))
        group.addoption(*names, action=action, dest=_dest(name), default=None, help=text)
        parser.addini(_dest(name), text, type=INI_TYPES[action], default=None)
    for name, (text, modes) in MODES.items():
        given = {"action": _Mode, "nargs": "?", "const": modes[0], "default": None, "help": text}
        group.addoption(f"--{name}", dest=_dest(name), **given)
        parser.addini(_dest(name), text, type="string", default=None)
    group.addoption("--candidates", action="store_true", dest="harness_list", help=LIST)
    for new, old in OLD_INI_KEYS.items():
        parser.addini(old, f"deprecated: use {_dest(new)}", type="string", default=None)


def _dest(name: str) -> str:
    return "harness_" + name.removeprefix("harness-").replace("-", "_")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the options once."""
    for theirs in DEPRECATED:
        config.addinivalue_line("filterwarnings", f"ignore::{theirs}")
    given = {}
    for name in (*OPTIONS, *MODES):
        option = config.getoption(_dest(name))
        given[name] = _ini_value(config, _dest(name)) if option is None else option
    given["list"] = config.getoption("harness_list")
    for name, key in OLD_INI_KEYS.items():
        if given[name] is None and (old := _ini_value(config, key)) is not None:
            given[name] = old
            warning = pytest.PytestDeprecationWarning(f"the ini key {key} is called {_dest(name)} now.")
            config.issue_config_time_warning(warning, stacklevel=2)
    paths = getattr(config.option, PATHS_AFTER, None) or []
    if paths:
        only = config.args_source != pytest.Config.ArgsSource.ARGS
        config.args[:] = paths if only else [*config.args, *paths]
    try:
        _require_known(config)
        settings = parse_settings(given, config.rootpath)
    except HarnessError as error:
        raise usage_error(error, config) from error
    if is_worker(config):
        settings = worker_settings(settings, config)
    command = "pytest " + shlex.join(map(str, config.invocation_params.args))
    # a copy of the real standard error, if a person watches it; pytest's capture does not reach it
    terminal = os.dup(2) if os.isatty(2) else None
    state = State(settings, command, terminal, _log_of(config))
    config.stash[STATE] = state
    for plugin in config.pluginmanager.get_plugins():
        state.fixtures.add(plugin)
    if settings.candidates:
        import harness.models  # noqa: F401 - settles how torch's threads wait, before a suite loads it

        # --lf would leave out files and tests unseen, and their gates could then not be named as missing;
        # without this part of it, it deselects them afterwards
        config.pluginmanager.set_blocked("lfplugin-collwrapper")


def _ini_value(config: pytest.Config, key: str) -> object:
    """None where the key is not there; an empty list is an empty text here."""
    value: object = config.getini(key)
    return "" if value == [] else value


def _require_known(config: pytest.Config) -> None:
    """Refuse keys and variables that are nearly ours: a setting that is misspelt would be silently unset.

    Keys and variables of others that begin with ``harness`` (Harness CI has such) are left alone.

    Raises:
        UsageError: names the nearest one.
    """
    known = [*map(_dest, (*OPTIONS, *MODES)), *OLD_INI_KEYS.values()]
    for key in sorted(config._get_unknown_ini_keys()):
        near = get_close_matches(key.lower().replace("-", "_"), known, n=1, cutoff=0.8)
        if near or key.startswith("harness_"):
            listed = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}."
            raise UsageError(f"{config.inipath or 'the ini file'}: unknown key {key!r}. {listed}")
    require_known_variables(os.environ)


def _log_of(config: pytest.Config) -> Callable[[str], None]:
    """Writes to standard error past pytest's capture, which would show it only where a test fails."""

    def write(text: str) -> None:
        capture = config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            sys.stderr.write(text)
            sys.stderr.flush()

    return write


def pytest_plugin_registered(plugin: object, manager: pytest.PytestPluginManager) -> None:
    """Note the candidates of conftests that are met during collection."""
    config: pytest.Config | None = getattr(manager.getplugin("pytestconfig"), "pluginmanager", None) and (
        manager.getplugin("pytestconfig")
    )
    if config is not None and STATE in config.stash:
        config.stash[STATE].fixtures.add(plugin)
