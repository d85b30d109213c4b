"""What the wording of a turn says about whether it leans on the turns before it. English; no model is asked."""

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

_STOP_WORDS = """
a an the and or but so if then than as at by for from in into of on onto off out over to up with without about after
before between during until while i you he she it we they me him her us them my your his its our their mine yours
this that these those there here who whom whose which what when where why how is are was were be been being am do
does did done doing have has had having can could will would shall should may might must need not no yes yeah yep
nope ok okay oh ah hm hmm well just only even still again also too very really quite more most less least much many
few some any all both each every other another one ones same such own now please thanks thank thx ty cool great nice
good fine perfect alright right sure lol haha ha wow i'm it's that's what's don't doesn't didn't isn't aren't can't
won't he's she's they're you're i've we've i'd i'll there's let's how's who's im its whats dont doesnt didnt isnt
cant wont pls u r s t re ve ll d m get got go going make made give gives take put let tell show say says said want
know think see mean use like look shorter longer simpler better worse bigger smaller first second third last next
thing things way bit lot kind sort
"""
_STOP = frozenset(_STOP_WORDS.split())
"""Words that say nothing of a subject."""

_REFERRING_WORDS = """
it its it's that that's this these those them they he she him her his their one ones both same there former latter
first second third
"""
_REFERRING = frozenset(_REFERRING_WORDS.split())
_CONNECTING_WORDS = """
and but so or then plus what why how which hm hmm only without with also
"""
_CONNECTING = frozenset(_CONNECTING_WORDS.split())
_ACKNOWLEDGING_WORDS = """
ok okay thanks thank thx ty cool great nice good fine perfect alright right sure lol haha ha wow oh ah phew cheers
genius fair interesting makes ugh eww done
"""
_ACKNOWLEDGING = frozenset(_ACKNOWLEDGING_WORDS.split())
_EDITING_WORDS = """
shorter longer simpler rewrite rephrase translate summarise summarize explain convert write draft commit test tests
add list table example step steps show sum put calculate retry continue funnier slower faster harder replace remove
drop
"""
_EDITING = frozenset(_EDITING_WORDS.split())
_LEAVING = re.compile(
    r"\b(by the way|btw|(?:other|different|new|another) (?:topic|subject|thing|question|note)|totally different"
    r"|unrelated|random question|quick (?:one|question)|something else|moving on|switching|meanwhile"
    r"|last (?:one|question)|back to|take a break|off topic|on the side|one more thing|change of)\b",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"^(?:\W*(?:ok|okay|thanks|thank you|thx|cool|great|nice|good|alright|btw|by the way|also|and|so)\W+)*"
    r"(?:what|how|why|who|when|where|which|can|could|is|are|do|does|did|should|would|write|explain|i|my|we|our|help|tell"
    r"|give|name|recommend|suggest|show)\b",
    re.IGNORECASE,
)
_WHOLE_WORDS = 5
"""A turn of at least so many words that begins like a question or a request, and refers to nothing, stands alone."""


def has_words(text: str) -> bool:
    """Whether there is a letter in the text."""
    return _WORD.search(text) is not None


def cues(text: str, before: Sequence[str]) -> dict[str, float]:
    """The cues of a turn, each about 0 to 2, by name; `before` are the user's turns on the same subject.

    `one`: always 1. `length`: words, logarithmic. `new`, `old`: content words that `before` has not, and has. `refers`:
    a pronoun or the like. `connects`, `acknowledges`: it begins with "and", "why", ...; with "thanks", "ok", ...
    `edits`: "shorter", "translate", ... `leaves`: "by the way", ... `whole`: a question or request that stands alone.
    `empty`: no content word.
    """
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    content = [word for word in words if word not in _STOP]
    known = {word.lower() for turn in before for word in _WORD.findall(turn)} - _STOP
    old = sum(word in known for word in content)
    refers = any(word in _REFERRING for word in words)
    first = words[0] if words else ""
    return {
        "one": 1.0,
        "length": min(len(words), 40) ** 0.5 / 3,
        "new": min(len(content) - old, 8) / 4,
        "old": min(old, 3) / 2,
        "refers": float(refers),
        "connects": float(first in _CONNECTING),
        "acknowledges": float(first in _ACKNOWLEDGING),
        "edits": float(any(word in _EDITING for word in words)),
        "leaves": float(_LEAVING.search(text) is not None),
        "whole": float(len(words) >= _WHOLE_WORDS and not refers and _OPENING.match(text) is not None),
        "empty": float(not content),
    }
