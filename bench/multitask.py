"""One adapter for all label skills of a specialist, or one for each: both trained on the same rows, scored on the same.

    python bench/multitask.py --data-dir data --specialist legal

Each skill's adapter is trained as its recipe says (one member, no lexical half). The shared adapter has the rank and
the learning rate of the first recipe, one head a skill, and reads as many epochs of all rows together. Scored are the
rows of dev and calibration, on which nothing is chosen here: no early stop, the last weights count.
"""

import argparse
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from tokenizers import Tokenizer

from concertino import config
from concertino.backends.encoder.session import clip_text, clip_tokens
from concertino.backends.encoder.shape import read_shape
from concertino.cli.curate import curated
from concertino.datasets.folder import Part, open_dataset
from concertino.default_models import SENTENCE_ENCODER
from concertino.models.store import Store
from concertino.recipe import Engine, Recipe
from concertino.recipe_file import load_recipe
from concertino.training.encoder_loop import Example, value_of
from concertino.training.encoder_model import EncoderModel
from concertino.training.precision import in_bf16
from concertino.training.train import encoder_files

RECIPES = Path(__file__).parent.parent / "recipes"
"""Of a checkout; without one the recipes that the shipped versions were made by."""
SHIPPED = Path(str(resources.files("concertino"))) / "shipped"


class Skill(Struct, frozen=True):
    """A recipe with its rows; `first` is the place of its first label among the labels of all skills."""

    recipe: Recipe
    train: list[Example]
    held: list[Example]
    labels: int
    first: int


def main() -> None:
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads or len(os.sched_getaffinity(0)))
    files = encoder_files(Store(config.load().home_path), SENTENCE_ENCODER)
    skills = read_skills(arguments, Tokenizer.from_file(str(files.tokenizer)))
    groups = [[skill] for skill in skills] + [skills]
    figures: list[dict[str, float]] = []
    for group in groups:
        begun = time.perf_counter()
        model = trained(group, files, arguments)
        figures.append({skill.recipe.name: scored(model, skill) for skill in group})
        names = ", ".join(skill.recipe.skill for skill in group)
        print(f"{names}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    print("| skill | metric | rows scored | an adapter of its own | one for all |\n| --- | --- | ---: | ---: | ---: |")
    for skill, alone in zip(skills, figures, strict=False):
        name = skill.recipe.name
        metric = skill.recipe.evaluation.metric
        print(f"| {name} | {metric} | {len(skill.held)} | {alone[name]:.3f} | {figures[-1][name]:.3f} |")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("CONCERTINO_DATA_DIR"),
        help="folder with the public sets; default: $CONCERTINO_DATA_DIR",
    )
    parser.add_argument("--specialist", default="legal", help="whose label skills")
    parser.add_argument("--epochs", type=float, default=0, help="0 means each recipe's")
    parser.add_argument("--threads", type=int, default=0, help="0 means the cores that this process may use")
    parser.add_argument("--seed", type=int, default=0, help="of the draws and the adapters")
    arguments = parser.parse_args()
    if arguments.data_dir is None:
        parser.error("give --data-dir or set CONCERTINO_DATA_DIR")
    return arguments


def read_skills(arguments: argparse.Namespace, tokenizer: Any) -> list[Skill]:
    """The specialist's label skills, curated as `concertino curate` does it."""
    skills: list[Skill] = []
    first = 0
    here = RECIPES.is_dir()
    folder = (RECIPES if here else SHIPPED) / arguments.specialist
    for path in sorted(folder.glob("*.yaml" if here else "*/recipe.yaml")):
        recipe = load_recipe(path)
        if recipe.training.engine is not Engine.ENCODER:
            continue
        with tempfile.TemporaryDirectory() as work:
            curated(recipe, Path(arguments.data_dir), Path(work) / "dataset")
            dataset = open_dataset(Path(work) / "dataset")
            labels = recipe.labels or dataset.labels
            rows = {
                part: [
                    Example(
                        clip_tokens(tokenizer.encode(clip_text(row.text)).ids, recipe.training.max_tokens),
                        tuple(first + labels.index(label) for label in row.labels),
                    )
                    for row in dataset.rows(part)
                ]
                for part in (Part.TRAIN, Part.DEV, Part.CALIBRATION)
            }
        held = [*rows[Part.DEV], *rows[Part.CALIBRATION]]
        skills.append(Skill(recipe, rows[Part.TRAIN], held, len(labels), first))
        first += len(labels)
    if not skills:
        sys.exit(f"{folder} has no recipe for the encoder engine.")
    return skills


def trained(skills: Sequence[Skill], files: Any, arguments: argparse.Namespace) -> Any:
    """One adapter for these skills: every batch is of one skill, and its loss is over that skill's labels alone."""
    plan, last = skills[0].recipe.training, skills[-1]
    torch.manual_seed(arguments.seed)
    bf16 = in_bf16(plan.precision)
    width = last.first + last.labels
    rank = plan.rank
    model = EncoderModel(read_shape(files.config), files.weights, width, rank, 2 * rank, plan.dropout, bf16)
    optimizer = torch.optim.AdamW(
        [
            {"params": model.adapter_parameters(), "lr": plan.learning_rate},
            {"params": model.head.parameters(), "lr": plan.head_learning_rate},
        ],
        weight_decay=plan.weight_decay,
    )
    batches = list(all_batches(skills, arguments))
    warm = max(1, round(plan.warmup * len(batches)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / len(batches))))
    )
    model.train()
    for skill, batch in batches:
        logits = model([row.tokens for row in batch])
        own = slice(skill.first, skill.first + skill.labels)
        target = torch.zeros_like(logits)
        for place, row in enumerate(batch):
            target[place, list(row.target)] = 1 / len(row.target)
        smoothing = skill.recipe.training.label_smoothing
        loss = torch.nn.functional.cross_entropy(logits[:, own], target[:, own], label_smoothing=smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    return model.eval()


def all_batches(skills: Sequence[Skill], arguments: argparse.Namespace) -> Iterator[tuple[Skill, list[Example]]]:
    """The batches of all epochs: of each skill as many as its recipe asks for, in one shuffled order."""
    draw = random.Random(arguments.seed)
    found: list[tuple[Skill, list[Example]]] = []
    for skill in skills:
        size = skill.recipe.training.batch
        for _ in range(round(arguments.epochs or skill.recipe.training.epochs)):
            rows = sorted(skill.train, key=lambda row: len(row.tokens) + draw.random() * 8)
            found += [(skill, rows[start : start + size]) for start in range(0, len(rows), size)]
    draw.shuffle(found)
    yield from found


def scored(model: Any, skill: Skill) -> float:
    """The recipe's metric on the held rows, over the skill's labels alone."""
    order = sorted(range(len(skill.held)), key=lambda place: len(skill.held[place].tokens))
    logits = np.zeros((len(order), skill.labels))
    with torch.no_grad():
        for start in range(0, len(order), 32):
            places = order[start : start + 32]
            found = model([skill.held[place].tokens for place in places])
            logits[places] = found[:, skill.first : skill.first + skill.labels].numpy()
    own = [Example(row.tokens, tuple(label - skill.first for label in row.target)) for row in skill.held]
    return value_of(skill.recipe.evaluation.metric, logits, own)


if __name__ == "__main__":
    main()
