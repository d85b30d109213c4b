"""A recipe: everything that decides how one skill of a specialist is made, in one YAML file.

`concertino curate` reads `data`, `train` reads `training`, `evaluate` reads `evaluation`, `promote` reads `promotion`;
the top of the file says what the skill is. Unknown keys are refused, with the nearest known key named.
"""

import re
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec
from msgspec import Struct

from concertino.config import SkillCard
from concertino.default_models import GENERALIST, SENTENCE_ENCODER
from concertino.recipe_digest import digest_of
from concertino.template import TEXT

SKILL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}/[a-z0-9][a-z0-9._-]{0,63}")


class Engine(StrEnum):
    """What a skill is trained as."""

    ENCODER = "encoder"
    """A LoRA adapter and a linear head on a sentence encoder: labels only."""
    CAUSAL = "causal"
    """A LoRA adapter on a language model that writes the label or the text."""


class Method(StrEnum):
    LORA = "lora"
    """LoRA over a base in 16 or 32 bits."""
    QLORA = "qlora"
    """LoRA over a base held in 4 bits (NF4); needs bitsandbytes (`concertino[qlora]`)."""


class Precision(StrEnum):
    """What a frozen base is multiplied in while its adapter is trained; the adapter's matrices are in fp32 always."""

    AUTO = "auto"
    """bf16 where the machine multiplies it natively (CUDA, AVX512-BF16, AMX, ARM's bf16), else fp32."""
    BF16 = "bf16"
    FP32 = "fp32"


class Metric(StrEnum):
    """What a skill is judged by. Higher is better, 0 to 1."""

    ACCURACY = "accuracy"
    """The answer is one of the row's labels."""
    MACRO_F1 = "macro_f1"
    """The mean over labels of F1: every label counts alike, however rare."""
    EXACT = "exact_match"
    """The answer is the row's text, white space aside."""
    COMMAND_TEMPLATE = "command_template"
    """The answer is the row's shell command when the arguments of both are replaced by their kind."""
    TESTS = "tests_pass"
    """The Python program in the answer passes the row's tests, which are run in a sandbox."""
    VALUES = "values"
    """The answer has the row's values: numbers with their scale, several in any order, a calculation by its result."""
    TOKEN_F1 = "token_f1"  # noqa: S105 - no secret
    """Prose, graded: F1 of the words that the answer shares with the row's, in any order (as SQuAD's)."""
    ROUGE_L = "rouge_l"
    """Prose, graded: F1 of the longest sequence of words that both have in this order (ROUGE-L), as for summaries."""
    CHRF = "chrf"
    """Prose, graded: how many runs of 1 to 6 characters both have (chrF); for any language, also one without blanks."""

    @property
    def graded(self) -> bool:
        """Whether an answer has a score of 0 to 1, rather than being right or wrong."""
        return self in (Metric.TOKEN_F1, Metric.ROUGE_L, Metric.CHRF)


class PersonalData(StrEnum):
    """What is done with rows in which personal data is found."""

    KEEP = "keep"
    """Count and report only."""
    SCRUB = "scrub"
    """Replace each finding by its kind in brackets."""
    DROP = "drop"
    """Leave the row out."""


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """One file, folder or glob pattern of rows, relative to the data folder."""

    path: str
    """Read by its suffix: jsonl, csv, tsv, txt, md, html, pdf, docx."""
    text: str = "text"
    """A field of the row, or a template of fields such as `{text}\\n{contexts}`; `ticket.body` is a field inside of
    another; a list is joined with spaces, and a table (a list of lists) is written a row a line."""
    label: str = ""
    """The field with the label, or with the list of labels, or with the answer, or a template of the one label or
    answer; `folder` is the name of the folder that a document lies in; empty for rows without one."""
    rename: dict[str, str] = {}
    """Label in the file -> label of the skill, for files whose names are not those wanted; others stay."""
    tests: str = ""
    """For `tests_pass`: a field or a template of fields with Python that imports from `program` and asserts."""
    group: str = ""
    """Rows with one value of this field stay in one part; empty: the text itself, or a document's path."""
    part: str = ""
    """`train` or `test` puts all rows in that part, where a public set has an official split."""
    licence: str = ""
    """Under which the rows may be used; data sheet and model card name it."""
    origin: str = ""
    """Where the public set comes from."""


class Split(Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of the parts; the rest is for training. The part of a group is a hash of `seed` and the group."""

    dev: float = 0.08
    """What weights and prompts are chosen on."""
    calibration: float = 0.12
    """What temperature and threshold are fitted on; 100 rows at least are wanted."""
    test: float = 0.12
    """What is only measured on."""
    seed: str = "concertino"
    """Another one deals the rows anew."""


class Data(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the rows come from, and which of them are kept."""

    sources: tuple[Source, ...]
    """At least one."""
    split: Split = Split()
    """How rows are dealt to the parts."""
    language: str = ""
    """ISO 639-1 code; rows that are clearly in another language are dropped. Empty: not looked at."""
    min_characters: int = 1
    """Shorter texts are dropped."""
    max_characters: int = 20_000
    """Longer texts are dropped; documents are cut into passages of at most so many."""
    near_duplicate: float = 0.9
    """Jaccard similarity of word 3-grams from which two rows are near-duplicates; 1 turns it off."""
    personal_data: PersonalData = PersonalData.KEEP
    """What happens to names, numbers and addresses of persons."""
    decontaminate: tuple[str, ...] = ()
    """Evaluation sets, relative to the data folder: training rows that overlap with them are dropped."""
    min_label_rows: int = 2
    """Labels with fewer rows are dropped and reported."""
    background: tuple[str, ...] = ()
    """Texts that the skill is not for, relative to the data folder: what out-of-scope detection learns from."""
    licences: dict[str, str] = {}
    """Path of `background` or `decontaminate`, without its field -> licence, for data sheet and model card. Digests
    leave it out, as it changes nothing that is made."""

    def licence_of(self, path: str) -> str:
        """Of a file of background texts or an evaluation set, by its path, which may end in `#field`; else empty."""
        file = path.partition("#")[0]
        given = self.licences.items()
        return next((of for at, of in given if file == at or file.startswith(f"{at}/") or fnmatchcase(file, at)), "")


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """How the adapter is trained."""

    engine: Engine = Engine.ENCODER
    """What is trained."""
    base: str = SENTENCE_ENCODER
    """A model of the catalogue, or the path of a Hugging Face folder."""
    method: Method = Method.LORA
    """How the base is held meanwhile; causal only."""
    precision: Precision = Precision.AUTO
    """What the base is multiplied in meanwhile."""
    members: int = 1
    """Adapters trained with seeds of their own, whose answers are averaged; encoder only."""
    lexical: bool = True
    """Encoder only: average with a TF-IDF model, by the share that dev favours."""
    rank: int = 32
    """Of the LoRA matrices: how much can be learnt. 16 up to 1,000 rows, 32 beyond."""
    alpha: float = 0.0
    """LoRA's alpha; 0 means twice the rank."""
    export_rank: int = 0
    """Causal only: rank that the trained matrices are cut to, by their singular values, when the adapter is written; a
    smaller file for a little accuracy. 0 writes them as trained."""
    epochs: float = 4
    """Passes over the training part."""
    cycles: int = 1
    """Causal only: how often all `epochs` are gone through, the learning rate beginning anew each time (warm restarts).
    A finished training of fewer cycles goes on where it ended."""
    learning_rate: float = 2e-3
    """At its highest, for the LoRA matrices."""
    head_learning_rate: float = 5e-3
    """For the linear head; encoder only."""
    warmup: float = 0.06
    """Share of the steps in which the learning rate rises."""
    batch: int = 16
    """Rows read at once."""
    accumulate: int = 1
    """Batches per step."""
    group_batches: bool = False
    """Causal only: read rows of one group together. What their texts begin with is then read once for the batch."""
    max_tokens: int = 256
    """What is read of a row; longer ones lose their middle (encoder) or are left out (causal)."""
    dropout: float = 0.0
    """On the vector that the head reads (encoder), or on what LoRA's branches read (causal)."""
    label_smoothing: float = 0.0
    """Share of the truth that is dealt to all labels, for labels that are not quite clean."""
    weight_decay: float = 0.01
    """AdamW's."""
    class_balance: float = 0.0
    """0 takes rows as they come; 1 weighs every label alike; between, labels weigh rows ** -class_balance."""
    patience: int = 0
    """Stop after so many evaluations on dev without a gain; 0 never stops early. The best weights are kept."""
    evaluate_steps: int = 0
    """Steps between evaluations on dev; 0 means once an epoch."""
    checkpoint_steps: int = 200
    """Steps between checkpoints, from which an interrupted training goes on."""
    seed: int = 0
    """Of the order of rows and of the first weights."""
    threads: int = 0
    """0 means the cores that this process may use."""


AFTER_MEMBERS = ("members", "lexical")
"""Keys of `training` that no single member of an encoder adapter depends on."""


class EvaluationPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """What the skill is measured against."""

    metric: Metric = Metric.ACCURACY
    """What is chosen and compared by."""
    generalist: str = GENERALIST
    """The model of the catalogue that is prompted for comparison."""
    generalist_rows: int = 100
    """Test rows on which the prompted models are run; the specialist and the classical baselines see all. Of texts of
    other domains a causal specialist sees as many."""
    selection_rows: int = 24
    """Dev rows on which the generalist's prompt is chosen."""
    shots: int = 5
    """Retrieved examples in the few-shot prompt."""
    alpha: float = 0.05
    """What the answers given may err at most, at 95 % confidence."""
    right_score: float = 0.0
    """Graded metrics only: the score from which an answer counts as right, for the confidence and the threshold. 0: no
    answer counts as right or wrong, so that the skill has neither."""

    @property
    def tells_right(self) -> bool:
        """Whether an answer is right or wrong, and not only better or worse."""
        return not self.metric.graded or self.right_score > 0


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
    """What it does, in a sentence: for people, and for prompts that name it."""
    instruction: str
    """The system message for models that are prompted, and for causal training; `{labels}` stands for the labels."""
    data: Data
    """What it is made from."""
    labels: tuple[str, ...] = ()
    """The closed set of answers; empty with `free_text: false` means the labels that the data has."""
    free_text: bool = False
    """True for skills that answer with text of their own."""
    max_tokens: int = 32
    """Most tokens of an answer."""
    calculate: bool = False
    """Free text only: an answer that begins with `=`, as `= (3-2)/2*100 percent`, is calculated, and the result is sent
    in its place. A source's label such as `{answer:by derivation}` teaches such answers."""
    beams: int = 1
    """Free text only: how many answers are followed at each token, of which the likeliest is given (1 to 8). More find
    a likelier one, for several times the work; 1 is greedy decoding. It changes no training: evaluate again."""
    on_low_confidence: str = "abstain"
    """`abstain`, or `escalate` to the router's default specialist."""
    training: Training = Training()
    """How it is trained."""
    evaluation: EvaluationPlan = EvaluationPlan()
    """What it is measured against."""
    promotion: Promotion = Promotion()
    """What it must show before it serves."""

    @property
    def specialist(self) -> str:
        return self.name.split("/")[0]

    @property
    def skill(self) -> str:
        return self.name.split("/")[1]

    @property
    def template(self) -> str:
        """What the skill reads of a row of fields: `text` of the sources, of the first where they differ."""
        return self.data.sources[0].text if self.data.sources else TEXT

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's content, whatever its file looks like."""
        content = msgspec.to_builtins(self)
        del content["data"]["licences"]
        for later, usual in (("calculate", False), ("beams", 1)):  # recipes of before these keys keep their digests
            if content[later] == usual:
                del content[later]
        return digest_of(content)

    @property
    def data_digest(self) -> str:
        """SHA-256 of what a dataset depends on: curating again is due when it changes."""
        data = msgspec.to_builtins(self.data)
        del data["licences"]
        return digest_of(self.name, self.labels, self.free_text, data)

    @property
    def training_digest(self) -> str:
        """SHA-256 of what an adapter depends on, beside its data: training again is due when it changes."""
        return self._digest_of(self.training)

    @property
    def steps_digest(self) -> str:
        """SHA-256 of what checkpoints depend on: an adapter of another rank or of more cycles goes on from them."""
        return self._digest_of(msgspec.structs.replace(self.training, export_rank=0, cycles=1))

    def _digest_of(self, training: Training) -> str:
        answers = (self.instruction, self.labels, self.free_text, self.max_tokens)
        plan = msgspec.structs.replace(training, threads=0)  # how fast is not what
        return digest_of(self.name, answers, plan, self.evaluation.metric)

    @property
    def member_digest(self) -> str:
        """SHA-256 of what one member of an encoder adapter depends on, beside its seed, the data and the base.

        How many members there are, and what is fitted after them, is not part of it: they need not be trained again.
        """
        alone = Training(members=1)
        after = {name: getattr(alone, name) for name in AFTER_MEMBERS}
        plan = msgspec.structs.replace(self.training, threads=0, **after)
        return digest_of(self.name, self.labels, plan, self.evaluation.metric)

    def card(self, labels: tuple[str, ...]) -> SkillCard:
        """The skill as a prompted model would be given it."""
        return SkillCard(
            self.skill,
            self.description,
            self.instruction,
            labels,
            max_tokens=self.max_tokens,
            template=self.template,
            calculate=self.calculate,
            beams=self.beams,
        )
