# ruff: noqa: E501 - a pattern reads better unbroken
"""Postal addresses: a number with a street, a box, a unit, a postal code where one is announced."""

import re

from concertino.policy.patterns import Pattern

_WORD = r"[^\W\d_][\w'.-]{0,24}"

_ENGLISH = re.compile(
    rf"\b\d{{1,5}}(?:-\d{{1,5}})?[A-Za-z]?,?[ ](?:{_WORD}[ ]|\d{{1,4}}(?:st|nd|rd|th)?[ ]){{1,4}}"
    r"(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|way|court|ct|place|pl|square|sq|terrace|crescent|"
    r"close|highway|hwy|parkway|pkwy|circle|trail|alley|mews|gardens|grove|row|parade)\b",
    re.IGNORECASE,
)
# Streets whose suffix is part of the word, and whose number follows: Hauptstraße 5, Harjukuja 54, Hammarvägen 15.
# Searched from the suffix, since any word could be the beginning.
_SUFFIXES = (
    "straße", "strasse", "str.", "gasse", "weg", "platz", "allee", "ring", "damm", "ufer", "straat", "laan", "plein",
    "gracht", "gata", "gatan", "gaten", "gade", "vägen", "vegen", "veien", "vej", "vei", "katu", "kuja", "tie", "polku",
    "stræti", "utca", "bakken", "stien",
)  # fmt: skip
_COMPOUND = re.compile(
    rf"(?:{'|'.join(map(re.escape, _SUFFIXES))})[ ]\d{{1,4}}[ ]?[a-zA-Z]?\b",
    re.IGNORECASE,
)
_STRASSE = re.compile(
    rf"\b{_WORD}[ ](?:stra(?:ß|ss)e|strasse|weg|platz|gasse|allee|ring|utca|út|katu|vej|gade)[ ]\d{{1,4}}\b",
    re.IGNORECASE,
)
# Streets that begin with their kind: 12 rue de la Paix, Rua do Arenque 1634, ul. Jarzębinowa 5, Via Roma 10.
_LEADING = re.compile(
    rf"\b(?:\d{{1,5}},?[ ](?:rue|avenue|boulevard|place|chemin|cours|quai|allée|impasse)[ ](?:{_WORD}[ ]?){{1,4}}"
    rf"|(?:rua|ul\.|ulica|via|viale|piazza|calle|avenida|av\.|plaza|carrer|paseo|rue|travessa|strada|quinta|largo)[ ](?:{_WORD},?[ ]){{1,5}}\d{{1,5}})\b",
    re.IGNORECASE,
)
_BOX = re.compile(
    r"\b(?:p\.?[ ]?o\.?[ ]?box|postbox|postfach|post office box)[ ]\d{1,6}\b|\b(?:psc|unit)[ ]\d{1,5},?[ ]box[ ]\d{1,5}\b|\b[afd]po[ ]a[aep][ ]\d{5}\b",
    re.IGNORECASE,
)
_UNIT = re.compile(r"\b(?:apt|apartment|suite|flat|wohnung|appartement)\b\.?[ ]?#?\d{1,5}[a-z]?\b", re.IGNORECASE)
_UK_CODE = re.compile(r"\b(?:GIR 0AA|[A-PR-UWYZ][A-HK-Y]?\d[\dA-HJKPSTUW]? \d[ABD-HJLNP-UW-Z]{2})\b")
_US_CODE = re.compile(
    r",?[ ](?:A[LKZR]|C[AOT]|D[EC]|FL|GA|HI|I[DLNA]|K[SY]|LA|M[EDAINSOT]|N[EVHJMYCD]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[TA]|W[AVIY])"
    r"[ ]\d{5}(?:-\d{4})?\b"
)
_CUED_CODE = re.compile(
    r"\b(?:zip|zip ?code|post ?code|postal code|plz)\b(?:[ ]?(?:is|:|=)){0,2}[ ]?(?P<v>[A-Z]?\d[\w-]{2,9}(?:[ ]\w{2,3})?)",
    re.IGNORECASE,
)
_CUED = re.compile(
    rf"\b(?:address(?: is|:| of [\w .,'-]{{1,40}}? is)|lives? (?:at|in)|living at|lived (?:at|in)|resides? at|residing at|located at|"
    rf"mailed? to|sent? to|taxi to|meet(?: me| you)? at|return to|deliver(?:ed)? to|moved to)[ \n]{{1,2}}(?P<v>(?:\d{{1,5}}[ ](?:{_WORD},?[ ]){{0,3}}[A-ZÀ-Þ]\w+"
    rf"|{_WORD}[ ](?:{_WORD}[ ]){{0,3}}\d{{1,4}}\b))",
    re.IGNORECASE,
)
# "5049 Edeby 55", "9543 1819 St. John": a house number before and after a capitalised word is an address in a list.
_NUMBERED = re.compile(
    r"\b\d{4,5}[ ](?:[A-ZÀ-ÞŁŚŽŠČĐΆ-Ω][\w'.-]{2,24}[ ]){1,4}\d{1,4}(?=[,\n]|[ ]+(?:Suite|Apt|[A-Z]{2,})|$)"
)


def _inside_word(match: re.Match[str]) -> bool:
    # Asked here and not by a look-behind, which would be tried at every character of the text.
    return match.string[match.start() - 1 : match.start()].isalpha()


def _has_digit(match: re.Match[str]) -> bool:
    return any(map(str.isdigit, match["v"]))


_KINDS = (
    "street", " st", "ave", "road", " rd", "lane", " ln", "drive", " dr", "boulevard", "blvd", "way", "court", " ct",
    "place", " pl", "square", " sq", "terrace", "crescent", "close", "hwy", "circle", "trail", "alley", "mews",
    "garden", "grove", " row", "parade",
)  # fmt: skip
_LEADERS = (
    "rue", "avenue", "boulevard", "place", "chemin", "cours", "quai", "allée", "impasse", "rua", "ul.", "ulica", "via",
    "piazza", "calle", "avenida", "av.", "plaza", "carrer", "paseo", "travessa", "strada", "quinta", "largo",
)  # fmt: skip
_PLACING = ("address", "liv", "resid", "located", "mail", "sent", "send", "taxi", "meet", "return", "deliver", "moved")

ADDRESSES = (
    Pattern("address", _ENGLISH, _KINDS, digit=True),
    Pattern("address", _COMPOUND, _SUFFIXES, valid=_inside_word, digit=True),
    Pattern(
        "address",
        _STRASSE,
        ("stra", "weg", "platz", "gasse", "allee", "ring", "út", "utca", "katu", "vej", "gade"),
        digit=True,
    ),
    Pattern("address", _LEADING, _LEADERS, digit=True),
    Pattern("address", _BOX, ("box", "postfach", "po a"), digit=True),
    Pattern("address", _UNIT, ("apt", "apartment", "suite", "flat", "wohnung", "appartement"), digit=True),
    Pattern("address", _UK_CODE, digit=True, capital=True),
    Pattern("address", _US_CODE, digit=True, capital=True),
    Pattern("address", _CUED_CODE, ("zip", "post", "plz"), group="v", digit=True),
    Pattern("address", _CUED, _PLACING, group="v", valid=_has_digit, digit=True),
    Pattern("address", _NUMBERED, digit=True, capital=True),
)
