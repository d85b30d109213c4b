"""`concertino train`: what it says when a person stops it."""

from pathlib import Path

import pytest
import yaml

from concertino.cli import run
from tests.datasets.making import rows, write

RECIPE = {"name": "team/skill", "description": "d", "instruction": "i", "data": {"sources": [{"path": "a.jsonl", "label": "label"}]}}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [(True, "The same command goes on from the last checkpoint."), (False, "The same command begins anew.")],
)
def test_an_interrupted_training_says_how_it_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    checkpoint: bool,
    said: str,
) -> None:
    from concertino.training import train

    def interrupted(*_: object) -> None:
        if checkpoint:
            folder = tmp_path / "run" / "member-0" / "checkpoints"
            folder.mkdir(parents=True)
            (folder / "step-00000005-0123456789abcdef.pt").touch()
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "train", interrupted)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    write(tmp_path, "a.jsonl", rows(40))
    assert run(["curate", "recipe.yaml", "--data-dir", ".", "--out", "data"]) == 0
    capsys.readouterr()
    assert run(["train", "recipe.yaml", "--dataset", "data", "--out", "run"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"Interrupted. {said}"
