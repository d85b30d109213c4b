"""Words of a text as the index knows them: lower case, without accents, without their commonest endings."""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")

_STOP_WORDS = """\
    a about again all also am an and any are aren't as at be because been before being both but by can can't cannot
    could did didn't do does doesn't doing don't done during each either else ever every for from get gets getting give
    given go goes going gonna got had has have haven't having he he's hello her here hers hey hi him his how how's i i'd
    i'll i'm i've if in into is isn't it it's its itself just know let like lot made make many may maybe me might mine
    more most much must my myself need needs no nor not of off oh ok okay on once one only or other our ours out over
    own people person please really said same say says she she's should shouldn't so some somebody someone something
    such sure tell tells than thank thanks that that's the their theirs them then there there's these they they're thing
    things think this those though through to too under until up upon us use used using very want wants was wasn't way
    we we're well were what what's when where whether which while who whom whose why will with without won't would
    wouldn't yes yet you you're your yours bye goodbye morning evening explain describe question answer"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_ENDINGS = (
    ("ments", ""),
    ("ment", ""),
    ("ies", "y"),
    ("ings", ""),
    ("ing", ""),
    ("ed", ""),
    ("es", ""),
    ("is", ""),
    ("s", ""),
    ("e", ""),
)
_SHORTEST = 3


def words(text: str) -> list[str]:
    """Every word of a text, lower case and without accents."""
    plain = unicodedata.normalize("NFKD", text.lower())
    return _WORD.findall("".join(char for char in plain if not unicodedata.combining(char)))


def stem(word: str) -> str:
    """A word without its commonest endings, so that "treated" finds "treatments"; crude, and the same for all."""
    word = re.sub(r"['’]s?$|['’]", "", word)
    for ending, rest in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST and not word.endswith(("ss", "us")):
            return word[: -len(ending)] + rest
    return word


def terms(text: str) -> list[str]:
    """The stems of the words that say something, in order, repeated where they are."""
    return [stem(word) for word in words(text) if word.replace("’", "'") not in STOP_WORDS and (len(word) > 1)]
