"""The fixed words of an answer that several specialists give: headings, what is missing, who said what."""

import re
from collections.abc import Sequence

from concertino.types import Message, Part, PartState, Role

_TITLE = 80
_SPACE = re.compile(r"\s+")
_CODE = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_MARKS = re.compile(r"[`#*<>|]+")

_COMPOSE = """\
You are given a request and answers to its parts by specialists. Write one answer to the request from them. Keep what \
they say, numbers and code word for word. Add no facts of your own and leave nothing out. \
Do not mention the specialists."""


def heading(part: Part, title: str) -> str:
    """The line above a part's answer."""
    return f"### {part.id}. {title} ({part.specialist})\n\n"


def titles(tasks: Sequence[str]) -> list[str]:
    """The title of each part, without the paragraphs at its beginning that stand in another part too."""
    found = []
    for place, task in enumerate(tasks):
        others, own = [*tasks[:place], *tasks[place + 1 :]], task
        while any(own.partition("\n\n")[0] in other for other in others) and (rest := own.partition("\n\n")[2]):
            own = rest
        found.append(title(own))
    return found


def title(task: str) -> str:
    """What a part asks for, in one line without marks of its own."""
    line = _SPACE.sub(" ", _MARKS.sub("", task.split("```")[0])).strip()
    if len(line) <= _TITLE:
        return line[:1].upper() + line[1:]
    return line[:1].upper() + line[1:_TITLE].rsplit(" ", 1)[0] + " ..."


def ending(part: Part, text: str, why: str, *, cut: bool) -> str:
    """What follows a part's answer `text`: where it is missing or broken off, the reason."""
    fence = "\n```" if text.count("```") % 2 else ""  # or the rest would stand in the code
    if part.state is PartState.COMPLETED:
        return f"{fence}\n\n*Cut off: the tokens of this part are used up.*\n\n" if cut else f"{fence}\n\n"
    return f"{fence}\n\n*Broken off: {why}*\n\n" if text else f"*Not answered: {why}*\n\n"


def closing(parts: Sequence[Part], reasons: dict[int, str], left_out: int, instead: dict[int, str]) -> str:
    """The note under the whole answer: who said what, who did `instead` of whom it was for, and what is missing."""
    answered = [f"{part.id} by {part.specialist}" for part in parts if part.state is PartState.COMPLETED]
    missing = [f"{part.id} ({part.specialist}): {reasons[part.id]}" for part in parts if part.id in reasons]
    lines = [f"Answered: {', '.join(answered)}."] if answered else []
    lines += [f"Part {id}: {why}" for id, why in instead.items()]
    if missing:
        lines.append(f"Not answered: {' '.join(missing)}")
    if left_out:
        asks = f"{left_out} more things that were asked are" if left_out > 1 else "One more thing that was asked is"
        lines.append(f"{asks} not answered: {len(parts)} parts are the most. Send the rest as another request.")
    return "---\n" + "\n".join(lines)


def lacks_code(whole: str, part: str) -> bool:
    """Whether a code block of `part` is not in `whole`, however it is indented and broken into lines there."""
    flat = _SPACE.sub("", whole)
    return any(code not in flat for code in (_SPACE.sub("", block) for block in _CODE.findall(part)) if code)


def composition(turn: str, answers: Sequence[tuple[str, str]]) -> list[Message]:
    """What the generalist is asked, for one answer from `(task, answer)` pairs."""
    listed = "\n\n".join(f"Part: {task}\nAnswer: {answer}" for task, answer in answers)
    return [Message(Role.SYSTEM, _COMPOSE), Message(Role.USER, f"Request:\n{turn}\n\n{listed}")]
