"""A recipe: everything that decides how one skill of a specialist is made, in one YAML file.

`concertino curate` reads `data`, `train` reads `training`, `evaluate` reads `evaluation`, `promote` reads `promotion`;
the top of the file says what the skill is. Unknown keys are refused, with the nearest known key named.
"""

import hashlib
import re
from enum import StrEnum
from pathlib import Path

import msgspec
import yaml
from msgspec import Struct

from concertino.config import SkillCard, explain
from concertino.errors import RecipeInvalid

SKILL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}/[a-z0-9][a-z0-9._-]{0,63}")


class Engine(StrEnum):
    """What a skill is trained as."""

    ENCODER = "encoder"
    """A LoRA adapter and a linear head on a sentence encoder: labels only."""
    CAUSAL = "causal"
    """A LoRA adapter on a language model that writes the label or the text."""


class Method(StrEnum):
    LORA = "lora"
    QLORA = "qlora"
    """LoRA over a base held in 4 bits; needs CUDA and bitsandbytes."""


class Metric(StrEnum):
    """What a skill is judged by. Higher is better, 0 to 1."""

    ACCURACY = "accuracy"
    """The answer is one of the row's labels."""
    MACRO_F1 = "macro_f1"
    EXACT = "exact_match"
    """The answer is the row's text, white space aside."""
    COMMAND_TEMPLATE = "command_template"
    """The answer is the row's shell command when the arguments of both are replaced by their kind."""


class PersonalData(StrEnum):
    """What is done with rows in which personal data is found."""

    KEEP = "keep"
    """Count and report only."""
    SCRUB = "scrub"
    """Replace each finding by its kind in brackets."""
    DROP = "drop"


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """One file, folder or glob pattern of rows, relative to the data folder."""

    path: str
    text: str = "text"
    """A field of the row, or a template of fields such as `{text}\\n{contexts}`; a list is joined with spaces."""
    label: str = ""
    """The field with the label, or with the list of labels, or with the answer; empty for rows without one."""
    group: str = ""
    """Rows with one value of this field stay in one part; empty: the text itself, or a document's path."""
    part: str = ""
    """`train` or `test` puts all rows in that part, where a public set has an official split."""
    licence: str = ""
    origin: str = ""
    """Where the public set comes from."""


class Split(Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of the parts; the rest is for training. The part of a group is a hash of `seed` and the group."""

    dev: float = 0.08
    calibration: float = 0.12
    test: float = 0.12
    seed: str = "concertino"


class Data(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the rows come from, and which of them are kept."""

    sources: tuple[Source, ...]
    split: Split = Split()
    language: str = ""
    """ISO 639-1 code; rows that are clearly in another language are dropped. Empty: not looked at."""
    min_characters: int = 1
    max_characters: int = 20_000
    near_duplicate: float = 0.9
    """Jaccard similarity of word 3-grams from which two rows are near-duplicates; 1 turns it off."""
    personal_data: PersonalData = PersonalData.KEEP
    decontaminate: tuple[str, ...] = ()
    """Evaluation sets, relative to the data folder: training rows that overlap with them are dropped."""
    min_label_rows: int = 2
    """Labels with fewer rows are dropped and reported."""
    background: tuple[str, ...] = ()
    """Texts that the skill is not for, relative to the data folder: what out-of-scope detection learns from."""


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """How the adapter is trained."""

    engine: Engine = Engine.ENCODER
    base: str = "all-MiniLM-L6-v2"
    """A model of the catalogue, or the path of a Hugging Face folder."""
    method: Method = Method.LORA
    members: int = 1
    """Adapters trained with seeds of their own, whose answers are averaged; encoder only."""
    rank: int = 32
    alpha: float = 0.0
    """LoRA's alpha; 0 means twice the rank."""
    epochs: float = 4
    learning_rate: float = 2e-3
    head_learning_rate: float = 5e-3
    warmup: float = 0.06
    batch: int = 16
    accumulate: int = 1
    """Batches per step."""
    max_tokens: int = 256
    dropout: float = 0.0
    """On the vector that the head reads (encoder), or on what LoRA's branches read (causal)."""
    label_smoothing: float = 0.0
    weight_decay: float = 0.01
    class_balance: float = 0.0
    """0 takes rows as they come; 1 weighs every label alike; between, labels weigh rows ** -class_balance."""
    patience: int = 0
    """Stop after so many evaluations on dev without a gain; 0 never stops early. The best weights are kept."""
    evaluate_steps: int = 0
    """Steps between evaluations on dev; 0 means once an epoch."""
    checkpoint_steps: int = 200
    seed: int = 0
    threads: int = 0
    """0 means the cores that this process may use."""


class EvaluationPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """What the skill is measured against."""

    metric: Metric = Metric.ACCURACY
    generalist: str = "qwen2.5-coder-1.5b-instruct"
    generalist_rows: int = 100
    """Test rows on which the prompted models are run; the specialist and the classical baselines see all."""
    selection_rows: int = 24
    """Dev rows on which the generalist's prompt is chosen."""
    shots: int = 5
    """Retrieved examples in the few-shot prompt."""
    alpha: float = 0.05
    """What the answers given may err at most, at 95 % confidence."""


class Promotion(Struct, frozen=True, forbid_unknown_fields=True):
    """What a version must show before it serves."""

    margin: float = 0.0
    """The lower 95 % bound of the gain over the incumbent, or over the generalist, must be above this."""
    max_regression: float = 0.02
    """No label with at least 20 test rows may lose more than this against an incumbent, at 95 % confidence."""
    max_cpu_ratio: float = 1.0
    """Median CPU seconds per request, as a share of the generalist's."""


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """One skill, from files to a promoted version."""

    name: str
    """`specialist/skill`."""
    description: str
    instruction: str
    """The system message for models that are prompted, and for causal training; `{labels}` stands for the labels."""
    data: Data
    labels: tuple[str, ...] = ()
    """The closed set of answers; empty with `free_text: false` means the labels that the data has."""
    free_text: bool = False
    """True for skills that answer with text of their own."""
    max_tokens: int = 32
    on_low_confidence: str = "abstain"
    """`abstain`, or `escalate` to the router's default specialist."""
    training: Training = Training()
    evaluation: EvaluationPlan = EvaluationPlan()
    promotion: Promotion = Promotion()

    @property
    def specialist(self) -> str:
        return self.name.split("/")[0]

    @property
    def skill(self) -> str:
        return self.name.split("/")[1]

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's content, whatever its file looks like."""
        return _digest(self)

    @property
    def data_digest(self) -> str:
        """SHA-256 of what a dataset depends on: curating again is due when it changes."""
        return _digest(self.name, self.labels, self.free_text, self.data)

    @property
    def training_digest(self) -> str:
        """SHA-256 of what an adapter depends on, beside its data: training again is due when it changes."""
        answers = (self.instruction, self.labels, self.free_text, self.max_tokens)
        return _digest(self.name, answers, self.training, self.evaluation.metric)

    def card(self, labels: tuple[str, ...]) -> SkillCard:
        """The skill as a prompted model would be given it."""
        return SkillCard(self.skill, self.description, self.instruction, labels, max_tokens=self.max_tokens)


def _digest(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe. Raises RecipeInvalid, naming the file, the key and what to do."""
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeInvalid(f"Cannot read the recipe {path}: {error}. Check the path and that it is UTF-8.") from error
    except yaml.YAMLError as error:
        raise RecipeInvalid(f"{path} is not valid YAML: {error}. Correct it at the place named.") from error
    try:
        recipe = msgspec.convert(raw, Recipe)
    except msgspec.ValidationError as error:
        sentence, where = explain(str(error), Recipe, "docs/factory.md")
        raise RecipeInvalid(f"{path}: {sentence}", param=where) from error
    _check(recipe, path)
    return recipe


def _check(recipe: Recipe, path: Path) -> None:
    def refuse(where: str, what: str) -> None:
        raise RecipeInvalid(f"{path}: {where}: {what}", param=where)

    if not SKILL_NAME.fullmatch(recipe.name):
        refuse("name", f"{recipe.name!r} is not of the form specialist/skill in lower-case letters, digits and '.-_'.")
    split = recipe.data.split
    for name, share in (("dev", split.dev), ("calibration", split.calibration), ("test", split.test)):
        if not 0 <= share < 1:
            refuse(f"data.split.{name}", f"{share} is not a share between 0 and 1.")
    if split.dev + split.calibration + split.test >= 1:
        refuse("data.split", "dev, calibration and test together leave nothing to train on.")
    if not recipe.data.sources:
        refuse("data.sources", "name at least one file.")
    for number, source in enumerate(recipe.data.sources):
        if source.part not in ("", "train", "test"):
            refuse(f"data.sources[{number}].part", f"{source.part!r} must be train, test or empty.")
    if recipe.free_text and recipe.labels:
        refuse("labels", "a skill that answers with free text has no labels; leave one of the two out.")
    if recipe.free_text and recipe.training.engine is Engine.ENCODER:
        refuse("training.engine", "an encoder gives labels only; use causal for free text.")
    if recipe.on_low_confidence not in ("abstain", "escalate"):
        refuse("on_low_confidence", f"{recipe.on_low_confidence!r} must be abstain or escalate.")
    for name in ("members", "rank", "epochs", "learning_rate", "batch", "accumulate", "max_tokens", "checkpoint_steps"):
        if getattr(recipe.training, name) <= 0:
            refuse(f"training.{name}", "must be more than 0.")
    if not 0 < recipe.evaluation.alpha < 1:
        refuse("evaluation.alpha", f"{recipe.evaluation.alpha} is not a share between 0 and 1.")
