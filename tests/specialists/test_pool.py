"""A skill with weights of its own: which backend runs it, what that backend is told to load, what is pulled for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concertino.backends.base import ModelUse
from concertino.config import Settings, build
from concertino.errors import ConfigurationError, UnsupportedParameter
from concertino.models.adapters import AdapterManifest, write_manifest
from concertino.models.inventory import needed
from concertino.models.store import Store
from concertino.orchestrator.compose import model_hash
from concertino.specialists.pool import Pool, model_uses
from concertino.specialists.prompts import generation_for
from concertino.types import Message, Request, Role, Sampling
from tests.teams import echo_team


def team(skill: dict[str, Any], **card: Any) -> Settings:
    """An echo team in which legal/overruling has weights of its own, or legal other fields."""
    raw = echo_team()
    raw["backends"]["second"] = {"type": "echo"}
    raw["backends"]["remote"] = {"type": "http", "options": {"base_url": "http://127.0.0.1:9/v1", "capabilities": []}}
    raw["specialists"][2] |= card
    raw["specialists"][2]["skills"][0] |= skill
    return build(raw, "a test")


def pool(settings: Settings) -> Pool:
    return Pool(settings, Path, lambda card: f"{card.backend}/{card.model}+{card.adapter}")


def asked(text: str, **sampling: Any) -> Request:
    return Request((Message(Role.USER, text),), "legal/overruling", sampling=Sampling(**sampling))


def test_a_skill_runs_on_its_own_backend_with_its_own_weights() -> None:
    made = pool(team({"backend": "second", "model": "small", "adapter": "/a"}))
    target = made.target("legal/overruling")
    assert target is not None and target.skill is not None
    assert target.specialist.backend is made.backends["second"]
    assert target.specialist.model_hash == "second/small+/a"
    generation = generation_for(target, asked("x"))
    assert (generation.model, generation.adapter) == ("small", "/a")
    assert made.get("legal").backend is made.backends["echo"]
    assert made.get("legal").model_hash == "echo/echo+None"


def test_a_backend_that_only_a_skill_names_is_made_and_told_the_skill_s_adapter() -> None:
    uses = model_uses(team({"backend": "second", "model": "small", "adapter": "/a"}))
    assert uses["second"] == [ModelUse("small", adapters=("/a",))]
    assert "small" not in [use.model for use in uses["echo"]]


def test_a_skill_s_adapter_joins_those_of_its_specialist_s_engine() -> None:
    uses = model_uses(team({"adapter": "/skill"}, adapter="/own", system="You are a lawyer."))
    assert next(use for use in uses["echo"] if use.model == "echo") == ModelUse(
        "echo", adapters=("/own", "/skill"), preambles=("You are a lawyer.",)
    )


@pytest.mark.parametrize(
    ("skill", "adapter"), [({}, "/own"), ({"model": "small"}, None), ({"backend": "second"}, None)]
)
def test_a_specialist_s_adapter_serves_a_skill_only_on_the_same_model(
    skill: dict[str, Any], adapter: str | None
) -> None:
    target = pool(team(skill, adapter="/own")).target("legal/overruling")
    assert target is not None
    assert generation_for(target, asked("x")).adapter == adapter


def test_what_a_skill_s_own_backend_cannot_do_is_refused_by_its_name() -> None:
    target = pool(team({"backend": "remote", "model": "gpt"})).target("legal/overruling")
    assert target is not None
    with pytest.raises(UnsupportedParameter, match="'remote', which cannot do 'logprobs'"):
        generation_for(target, asked("x", logprobs=True))


def test_an_adapter_folder_gives_llama_cpp_its_gguf_and_other_engines_the_folder(tmp_path: Path) -> None:
    causal, encoder = tmp_path / "causal", tmp_path / "encoder"
    for folder in (causal, encoder):
        folder.mkdir()
    (causal / "adapter.gguf").write_bytes(b"GGUF")
    for folder, given in ((causal, causal / "adapter.gguf"), (encoder, encoder)):
        settings = team({"adapter": str(folder)})
        target = pool(settings).target("legal/overruling")
        assert target is not None
        assert generation_for(target, asked("x")).adapter == str(given)
        assert str(given) in next(use for use in model_uses(settings)["echo"] if use.model == "echo").adapters


def test_a_model_that_only_a_skill_needs_is_pulled() -> None:
    raw = echo_team()
    raw["backends"]["encoder"] = {"type": "encoder"}
    raw["specialists"][2]["skills"][0] |= {"backend": "encoder", "model": "all-MiniLM-L6-v2"}
    assert needed(build(raw, "a test")) == {"all-MiniLM-L6-v2": ("legal/overruling",)}


def test_the_hash_of_a_skill_s_weights_follows_its_adapter(
    tmp_path: Path, team_settings: Callable[..., Settings]
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter.safetensors").write_bytes(b"one")
    manifest = AdapterManifest("encoder", "small", "0" * 64, 8, 16.0)
    write_manifest(folder, manifest)
    store = Store(tmp_path / "home")

    def found() -> str:
        made = Pool(team({"model": "small", "adapter": str(folder)}), Path, lambda card: model_hash(store, card))
        target = made.target("legal/overruling")
        assert target is not None
        return target.specialist.model_hash

    first = found()
    assert first.startswith("upstream:echo/small+sha256:")
    (folder / "adapter.safetensors").write_bytes(b"two")
    with pytest.raises(ConfigurationError, match=r"legal.*not the file"):
        found()
    write_manifest(folder, manifest)
    assert found() != first
