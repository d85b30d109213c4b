"""What no model learns anything good from. Cheap signs only, after Gopher's filters (Rae et al. 2021, A.1.1)."""

import re
from collections import Counter

_LETTER = re.compile(r"[^\W\d_]")
_RUN = re.compile(r"([^\s\d=\-_*.#~])\1{9,}")
_RULE = re.compile(r"([=\-_*.#~])\1{3,}")
_FEWEST_ALNUM = 0.4
_MOST_RUNS = 0.5
_MOST_ONE_LINE = 0.5
_FEWEST_DISTINCT = 0.1
_MOST_UNDECODED = 0.05


def poor(text: str) -> tuple[str, str] | None:
    """(reason, because) where a text is junk; None where it is not."""
    if not _LETTER.search(text):
        return "no letters", "it has no letter"
    undecoded = text.count("\ufffd")
    if undecoded > _MOST_UNDECODED * len(text):
        return "undecodable", f"{undecoded} of {len(text)} characters could not be decoded"
    pieces = _RULE.sub(" ", text).split()
    visible = sum(map(len, pieces))
    alnum = sum(map(str.isalnum, text))
    if alnum < _FEWEST_ALNUM * visible:
        return "mostly symbols", f"{alnum} of {visible} characters are letters or digits"
    in_runs = sum(len(match.group()) for match in _RUN.finditer(text))
    if in_runs > _MOST_RUNS * visible:
        return "repeated characters", f"{in_runs} of {visible} characters are runs of one character"
    if len(pieces) >= 20 and len(set(pieces)) < _FEWEST_DISTINCT * len(pieces):
        return "repeated words", f"{len(set(pieces))} different words among {len(pieces)}"
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) >= 4:
        line, count = Counter(lines).most_common(1)[0]
        if count > _MOST_ONE_LINE * len(lines):
            return "repeated lines", f"{count} of {len(lines)} lines are {line!r}"
    return None
