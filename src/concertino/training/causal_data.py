"""Rows as a causal model is trained on them: the prompt that serving will send, and the completion it is to learn."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from concertino.backends.base import Capability
from concertino.config import SkillCard, SpecialistCard
from concertino.datasets.folder import Row
from concertino.errors import ConfigurationError, TrainingRefused
from concertino.specialists.skills import skill_generation
from concertino.types import Message

TOO_LONG_AT_MOST = 0.05
"""Share of rows that may be dropped for their length; beyond it the recipe is what is wrong."""

_WINDOW = 64
"""Batches that are sorted by length together: enough for little padding, few enough to stay a shuffle."""

_MARK = "ANSWER-GOES-HERE"


class Example(Struct, frozen=True):
    """One prompt and completion: token ids, how many of them are the prompt, and how much the row counts."""

    ids: tuple[int, ...]
    prompt: int
    weight: float
    row: Row

    @property
    def supervised(self) -> int:
        """Tokens that the loss is on: the completion and the end of the turn."""
        return len(self.ids) - self.prompt


class PromptFormat:
    """Texts as prompts in a base's own chat template, token for token as llama.cpp's server makes them.

    Raises TrainingRefused for a base without a chat template, or with one that leaves out the instruction or the text.
    """

    def __init__(self, tokenizer: Any, chat_template: str, eos_token: str, bos_token: str, skill: SkillCard) -> None:
        if not chat_template:
            raise TrainingRefused(
                "The base has no chat template, so nothing says how a question is put to it. Choose an instruct model.",
                param="training.base",
            )
        self._tokenizer = tokenizer
        self._template = _compile(chat_template)
        self._eos, self._bos = eos_token, bos_token
        self._card = SpecialistCard(skill.name, skill.description, "", "")
        self._skill = skill
        instruction = self.messages("")[0].content
        shown = self.prompt(_MARK)
        for what, piece in (("the instruction", str(instruction).strip()), ("the text", _MARK)):
            if piece not in shown:
                raise TrainingRefused(f"The base's chat template leaves out {what}.", param="training.base")
        self.end = self._end_of_turn()

    def messages(self, text: str) -> tuple[Message, ...]:
        """What serving sends for a text."""
        return skill_generation(self._card, self._skill, text, frozenset({Capability.GRAMMAR})).messages

    def prompt(self, text: str) -> str:
        """The rendered prompt of a text, up to where the answer begins."""
        return self._render([*self._plain(text)], True)

    def encode(self, text: str) -> list[int]:
        """The prompt of a text as token ids."""
        ids: list[int] = self._tokenizer.encode(self.prompt(text), add_special_tokens=False).ids
        return ids

    def example(self, row: Row, answer: str, weight: float = 1.0) -> Example:
        """A row's prompt, an answer, and the end of the turn."""
        prompt = self.encode(row.text)
        completion = self._tokenizer.encode(answer, add_special_tokens=False).ids
        return Example((*prompt, *completion, self.end), len(prompt), weight, row)

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens included."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def _plain(self, text: str) -> list[dict[str, str]]:
        return [{"role": message.role.value, "content": str(message.content)} for message in self.messages(text)]

    def _render(self, messages: list[dict[str, str]], prompt: bool) -> str:
        import jinja2

        try:
            text: str = self._template.render(
                messages=messages, add_generation_prompt=prompt, bos_token=self._bos, eos_token=self._eos
            )
        except jinja2.TemplateError as error:
            raise TrainingRefused(
                f"The base's chat template cannot render an instruction and a text: {error}.", param="training.base"
            ) from error
        return text

    def _end_of_turn(self) -> int:
        """The token that the template puts after an answer; the model is taught to stop with it."""
        whole = self._render([*self._plain("x"), {"role": "assistant", "content": _MARK}], False)
        after = self._tokenizer.encode(whole.rpartition(_MARK)[2], add_special_tokens=False).ids
        special = {place for place, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        found = next((place for place in after if place in special), self._tokenizer.token_to_id(self._eos))
        if found is None:
            raise TrainingRefused("The base has no token that ends an answer.", param="training.base")
        return int(found)


def _compile(template: str) -> Any:
    """The template of a model file is a stranger's program: it runs in a sandbox, with the settings all engines use."""
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise ConfigurationError("Training needs jinja2: pip install 'concertino[train]'") from error

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise TrainingRefused(f"The base's chat template cannot be read: {error}.", param="training.base") from error


def make_examples(
    rows: Iterable[Row], format_: PromptFormat, max_tokens: int, class_balance: float, note: Callable[[str], None]
) -> list[Example]:
    """Every row as an example; one with several labels as one for each of them.

    Raises TrainingRefused where there is nothing to train on, where any row has no token that the loss would be on, or
    where more than 5 % of the rows do not fit in `max_tokens`; a few such rows are dropped and counted.
    """
    listed = list(rows)
    answers = [(row, answer) for row in listed for answer in (row.labels or (row.answer,))]
    if not answers:
        raise TrainingRefused("The training part is empty. Curate a dataset with rows to train on.", param="data")
    empty = [row.id or row.source for row, answer in answers if not answer.strip()]
    if empty:
        raise TrainingRefused(
            f"{len(empty)} of {len(listed)} rows have no token to learn: neither a label nor an answer "
            f"({', '.join(empty[:3])}). Name the field with the answer as `label` of the source, and curate again.",
            param="data.sources",
        )
    weights = class_weights([answer for row, answer in answers if row.labels], class_balance)
    examples = [format_.example(row, answer, weights.get(answer, 1.0)) for row, answer in answers]
    fitting = [example for example in examples if len(example.ids) <= max_tokens]
    dropped = len(examples) - len(fitting)
    if dropped:
        longest = max(len(example.ids) for example in examples)
        what = f"{dropped} of {len(examples)} rows are longer than max_tokens {max_tokens} (the longest has {longest})"
        if dropped > TOO_LONG_AT_MOST * len(examples):
            raise TrainingRefused(
                f"{what}. Raise training.max_tokens, or shorten the texts.", param="training.max_tokens"
            )
        note(f"{what}; they are dropped")
    return fitting


def class_weights(labels: Sequence[str], class_balance: float) -> dict[str, float]:
    """Label -> weight of its rows: their number to the power of `-class_balance`, 1 on average over the rows."""
    counts = Counter(labels)
    raw = {label: count**-class_balance for label, count in counts.items()}
    mean = sum(raw[label] * count for label, count in counts.items()) / max(len(labels), 1)
    return {label: weight / mean for label, weight in raw.items()}


def supervised_spans(examples: Sequence[Example], format_: PromptFormat, shown: int = 3) -> list[str]:
    """The first examples as lines for a person to read: the end of the prompt, and in brackets what is learned."""
    lines = []
    for example in examples[:shown]:
        before = format_.decode(example.ids[: example.prompt])[-60:]
        lines.append(f"{before!r} [[{format_.decode(example.ids[example.prompt :])!r}]]")
    return lines


def epoch_batches(
    lengths: Sequence[int], size: int, seed: int, epoch: int, groups: Sequence[str] = ()
) -> list[list[int]]:
    """The batches of an epoch, as indexes: shuffled, with neighbours in length put together, and shuffled again.

    With `groups`, one for each length, the rows of a group are put together instead, and a batch has one group's rows.
    The order depends on `seed` and `epoch` alone, so that a resumed training sees what it would have seen.
    """
    draw = random.Random(f"{seed}/{epoch}")  # noqa: S311 - sampling, not secrets
    if groups:
        return _grouped_batches(lengths, groups, size, draw)
    order = list(range(len(lengths)))
    draw.shuffle(order)
    batches = []
    for start in range(0, len(order), _WINDOW * size):
        window = sorted(order[start : start + _WINDOW * size], key=lambda index: lengths[index])
        batches += [window[place : place + size] for place in range(0, len(window), size)]
    draw.shuffle(batches)
    return batches


def _grouped_batches(lengths: Sequence[int], groups: Sequence[str], size: int, draw: random.Random) -> list[list[int]]:
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    batches = []
    for indexes in members.values():
        indexes.sort(key=lambda index: (lengths[index], draw.random()))
        batches += [indexes[start : start + size] for start in range(0, len(indexes), size)]
    draw.shuffle(batches)
    return batches
