"""The real ``transformers serve`` answers for a base and for an adapter as the library does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_llama import EXACT

from harness import Decoding, ExactMatch, Prompted, Server, Suite
from harness.candidates.base import Call, Prepared
from harness.candidates.lab import Lab
from harness.candidates.served import by_server, served_notes
from harness.errors import ModelError
from harness.models.local import LocalModel
from harness.models.progress import Silent
from harness.models.protocol import Prompt
from harness.models.served import Weights
from harness.models.source import ModelSource
from harness.run.served_check import require_alike
from harness.run.suite_loading import LoadedSuite, load_suite
from harness.scoring.envelope import read_answer
from harness.store.adapters import AdapterStore

DECODING = Decoding(max_new_tokens=12)


@pytest.mark.slow
def test_a_base_and_its_adapter_are_answered_alike_and_a_wrong_template_is_found(
    tiny: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    lab = Lab(tmp_path, AdapterStore(tmp_path / "adapters"), Silent())
    suite, adapter = questions(tmp_path), strengthened(adapter, tmp_path / "strong")

    def served(identity: str, weights: Weights, adapter: Path | None) -> Prepared:
        library = Prepared(
            model_name="tiny",
            model_digest=tiny.digest,
            identity=identity,
            numeric_config="exact",
            load=lambda: LocalModel.load(tiny, EXACT, adapter=adapter),
            ask=lambda row, prompt: row.prompt,
        )
        return by_server(lab, Server(), library, weights, DECODING, "")

    try:
        base = served("base", Weights(tiny, tiny.digest, dtype="float32"), None)
        tuned = served("tuned", Weights(tiny, "tuned", adapter, dtype="float32"), adapter)
        for label, prepared in (("base", base), ("tuned", tuned)):
            assert len(check(label, prepared, suite)) == len(suite.rows)
            (note,) = served_notes(prepared)
            assert "rows that transformers serve 5." in note
            assert note.endswith("8 answers are the same; their prompts have as many tokens.")
        # the base's answers under the adapter's name
        mistaken = served("mistaken", Weights(tiny, tiny.digest, dtype="float32"), adapter)
        with pytest.raises(ModelError, match=r"\d of 8 answers begin otherwise"):
            check("mistaken", mistaken, suite)
        assert tuned.served is not None
        template = tuned.served.service.folder() / "chat_template.jinja"
        template.write_text(template.read_text().replace("{% if add_generation_prompt %}", "{% if false %}"))
        assert lab.servers.running is not None
        lab.servers.running.loaded = None  # it reads the folder again
        wrong = served("wrong", Weights(tiny, "tuned", adapter, dtype="float32"), adapter)
        with pytest.raises(ModelError, match="as many as with no generation prompt"):
            check("wrong", wrong, suite)
    finally:
        lab.servers.end()


def strengthened(adapter: Path, folder: Path) -> Path:
    """The adapter with ten times its weight: other tokens are the likeliest."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, folder)
    file = folder / "adapter_model.safetensors"
    weights = {name: w * (10 if "lora_B" in name else 1) for name, w in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    return folder


def check(label: str, prepared: Prepared, suite: LoadedSuite) -> list[object]:
    prompts = [Prompt(row.id, row.prompt) for row in suite.rows]
    call, served = Call(Prompted(model="tiny"), prepared, prompts), prepared.served
    assert served is not None
    opens = served.service.open
    return [*require_alike(label, call, prompts, DECODING, suite, label, read_answer, opens, Silent())]


def questions(root: Path) -> LoadedSuite:
    turns = (
        [("system", "You sort tickets."), ("user", f"Where is order {k}?"), ("assistant", "On its way.")]
        for k in range(8)
    )
    lines = (json.dumps({"messages": [{"role": r, "content": c} for r, c in each]}) for each in turns)
    (root / "heldout.jsonl").write_text("\n".join(lines) + "\n")
    return load_suite(Suite(heldout="heldout.jsonl", scores=(ExactMatch(),)), root / "test_it.py", root)
