"""Things that are asked for by a noun alone: "a regex for e-mail addresses, plus the legal risks of recording calls".

A noun after "and" mostly belongs to what stands before it ("a script that computes the rate and the balance"), so it is
another thing only where it names something that one can be given, says by itself what it is about, and its connector
and what stands before leave no other reading. The rules are for English.
"""

import re

_GIVEN = (
    r"advice|analysis|article|benefits|blog post|breakdown|causes|checklist|clauses?|code|commands?|comparison|"
    r"component|consequences|contract|costs|dangers|definition|description|diagram|diet|differences?|dockerfile|"
    r"dosages?|doses?|draft|e-?mail|essay|estimate|examples?|exercises?|explanation|expression|facts|formula|function|"
    r"guide|guidelines|haiku|history|ideas?|implications|instructions|introduction|itinerary|jokes?|letter|limerick|"
    r"list|makefile|meaning|menu|names|obligations|one-?liner|outline|overview|paragraph|penalties|playlist|poem|"
    r"procedure|program|pros and cons|query|quiz|recipes?|recommendations?|regex|remedies|report|requirements|review|"
    r"rights|risks|rules|sample|schema|script|side effects|signs|slogans?|snippet|song|speech|steps|story|"
    r"suggestions?|summary|symptoms|template|timeline|tips|toast|translation|treatments?|type|unit tests?|"
    r"vaccinations|vaccines|workout"
)
_LITTLE = r"of|for|to|that|which|on|in|about|with|when|how|from|against|by|at|using|after|before|under|who|what|if"
_FEW = r"two|three|four|five|six|seven|eight|nine|ten|\d{1,2}|some|a few|several"
_NEW = rf"(?:an?|another|{_FEW})"
_MIDDLE = rf"(?:(?!(?:{_LITTLE}|and|or|is|are|was|were)\b)[\w'’-]+ ){{0,4}}?"
_HEAD = rf"{_MIDDLE}(?:{_GIVEN})(?=\W*$|[,;:.?!]|\s+(?:{_LITTLE})\b)"
_POLITE = r"(?:please,? |maybe |possibly |finally,? |for me,? )?"
NEW = re.compile(rf"\s*{_POLITE}{_NEW} {_HEAD}", re.IGNORECASE)
"""Something that was not spoken of before."""
ANY = re.compile(rf"\s*{_POLITE}(?:{_NEW}|the) {_HEAD}", re.IGNORECASE)
_STRONG = re.compile(
    r"[\s,;:–—-]*(?:and |but |oh,? (?:and )?)?,? ?(?:also|plus|additionally|in addition|as well as|along with|"
    r"together with|besides|furthermore|moreover)\b",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|this|these|those|each|both|above|same|he|she|him|her|his)\b|"
    r"\bthat(?=\W*$|[,;.?!])|\b(?:for|of|about|with|to|on|from) that\b",
    re.IGNORECASE,
)
_RUNS_ON = re.compile(
    r"\b(?:that|which|who|whose|where|when|if|to|with|about|between|from|both|including|containing|into|against|"
    r"versus|vs)\b",
    re.IGNORECASE,
)
"""What stands before a mere "and" may go on after it."""
_BETWEEN = re.compile(r"\bbetween\b(?!.*\band\b)", re.IGNORECASE | re.DOTALL)
_PAIR = re.compile(r"\b(?:both|combin(?:e|es|ing)|compar(?:e|es|ing)|contrast|distinguish|merge)\b", re.IGNORECASE)
_SAYS = re.compile(
    r"(?:(?!\b(?:that|which|who|whose|what|how|where|when|why|if|whether|while)\b).)*?\b(?:am|are|can|cannot|could|did|"
    r"do|does|had|has|have|is|may|might|must|need|needs|said|say|says|shall|should|was|were|will|would)\b",
    re.IGNORECASE | re.DOTALL,
)
"""A statement rather than a noun."""
FEWEST_WORDS = 4
"""Of the noun with what belongs to it."""
_FARTHEST = 300
"""Characters that are read on either side of a connector."""


def asks(text: str, begins: int, end: int) -> bool:
    """Whether words that stand alone, or after "also", ask for something by a noun."""
    if ANY.match(text, begins, end) is None:
        return False
    said = text[begins : min(end, begins + _FARTHEST)]
    return len(said.split()) >= FEWEST_WORDS and not _POINTS_BACK.search(said) and not _SAYS.match(said)


def follows(text: str, start: int, middle: int, begins: int) -> bool:
    """Whether a noun at `begins`, which `asks`, is another thing than the words from `start` to `middle`, where its
    connector begins."""
    before, connector = text[max(start, middle - _FARTHEST) : middle], text[middle:begins]
    strong = _STRONG.match(connector) is not None
    if _BETWEEN.search(before) or (not strong and ("," in before or _PAIR.search(before))):
        return False  # an enumeration, or a pair
    if connector.lstrip()[:1] in (",", ";", ":", "–", "—", "-"):
        return True
    return _RUNS_ON.search(before) is None and (strong or NEW.match(text, begins) is not None)
