"""Where the verbs of the factory look for a skill's dataset and run when nobody says."""

from pathlib import Path


def dataset_and_run(name: str, dataset: Path | None, run: Path | None) -> tuple[Path, Path]:
    """datasets/NAME and runs/NAME, where `curate` and `train` put them; else, where neither is named or there, what
    `build` made."""
    built = Path("build") / name
    own = Path("datasets") / name, Path("runs") / name
    if dataset is None and run is None and built.is_dir() and not any(folder.is_dir() for folder in own):
        own = built / "dataset", built / "run"
    return dataset or own[0], run or own[1]
