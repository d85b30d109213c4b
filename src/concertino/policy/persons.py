# ruff: noqa: E501 - a pattern reads better unbroken
# ruff: noqa: SIM905 - a list of words reads as words
"""Names of persons, found by what stands beside them: a title, a role, "my name is", a known given name.

There is no statistical model here, so a bare unusual name with no cue is missed; `docs/policy.md` says how often.
"""

import re
from collections.abc import Iterator

from concertino.policy.base import Finding
from concertino.policy.given_names import GIVEN_NAMES
from concertino.policy.lexicon import STRONG, WEAK
from concertino.policy.patterns import Pattern, Window

# One capitalised word of a name (also McDonald, O'Brien, J.); particles may stand between two of them.
_UP = r"(?:[A-ZÀ-ÖØ-ÞŁŚŽŠČĐ][\w'’-]{1,24}|[A-Z]\.?(?![\w'.]))"
_PARTICLE = r"(?:de la|de|da|del|van der|van den|van|von|bin|al|el|la|le|dos|den|ter)"
_NAME = rf"(?P<n>{_UP}(?:[ ]{{1,2}}(?:{_PARTICLE}[ ])?{_UP}){{0,3}})"
_LOWER_NAME = r"(?P<n>[^\W\d_][\w'-]{1,24}(?:[ ][^\W\d_][\w'.-]{0,24}){0,2})"

_TITLED = re.compile(
    rf"\b(?:[Mm](?:r|rs|s|x)|MRS?|MS|[Mm]iss|[Dd]r|DR|[Dd]octor|[Pp]rof|[Pp]rofessor|[Nn]urse|[Ss]ister|[Ff]r|[Hh]err|[Ff]rau|"
    rf"[Mm]onsieur|[Mm]adame|Mme|Mlle|[Ss]e[ñn]ora?|[Ss]enhora?|Sra?|[Ss]ignora?|Sig(?=\.)|[Mm]evrouw|[Mm]eneer|Mevr|Dhr|[Ss]ir|[Dd]ame|[Rr]ev|[Mm]ister|"
    rf"[Cc]apt)\b\.?[ \n]{{1,2}}{_NAME}"
)
_TITLED_LOWER = re.compile(r"\b(?:mr|mrs|ms|dr)\.? (?P<n>[a-z][a-z'-]{2,24})\b")

# "patient Jane Doe", "my son Tom", "on behalf of Jane": only when capitals follow, since the cues are plain words.
_ROLE = re.compile(
    r"\b(?:[Pp]atient(?:'s name)?(?: is| was|,|:)?|[Pp]atientin|[Pp]atiente|[Pp]atiënte?|[Pp]a[cz]iente|[Cc]lient|[Cc]laimant|[Pp]laintiff|[Dd]efendant|[Ee]mployee|[Cc]olleague|[Nn]eighbou?r|"
    r"[Ss]on|[Dd]aughter|[Ww]ife|[Hh]usband|[Pp]artner|[Mm]other|[Ff]ather|[Mm]um|[Mm]om|[Dd]ad|[Bb]rother|[Ss]ister|[Uu]ncle|[Aa]unt|"
    r"[Ff]riend|[Bb]oss|[Gg]rand(?:mother|father|ma|pa|son|daughter)|[Cc]ousin|[Cc]hild|[Bb]aby|[Rr]e:|[Dd]ear|[Rr]egards,|[Ss]incerely,|"
    r"[Hh]i,|[Ii]'m|I am|[Tt]his is|[Ss]igned,?|[Nn]amed|[Oo]n behalf of|[Aa]ttn:?|[Cc]/[Oo]|[Hh]ello|[Hh]i)"
    rf"[ \n]{{1,2}}{_NAME}"
)
# These say "name" outright, so case and punctuation are forgiven.
_NAMED = re.compile(
    r"\b(?:(?:(?:my|his|her|their|patient'?s?|full|first|last|maiden|sur|family|given|whose|the|your)[ _-]{0,2})name(?: and surname)?\b\??"
    r"(?:[ ](?:is|was|are))?[ \"']{0,2}[:=]?[ \"']{0,3}|(?:^|[\n,;{(>])[ \t\"']{0,8}(?:patient|name|full name|patient name|contact|"
    r"attending|physician|provider|next of kin|emergency contact|nachname|vorname|nom|nombre|apellidos?|insured|guarantor)[\"']?[ ]?[:=][ ]?[\"']?|"
    r"\b(?:ich hei(?:ß|ss)e|mein name ist|je m'appelle|me llamo|mi chiamo|i am called|they call me|goes by)[ ])",
    re.IGNORECASE,
)
_NAME_HERE = re.compile(_NAME)
_LOWER_HERE = re.compile(_LOWER_NAME)

# "Jane Doe", "Doe, Jane", "Jane (45)": a given name we know, and something that makes it a person's.
_PAIR = re.compile(
    rf"(?<![\w.])(?P<g>[A-Z][a-zà-ÿ]{{1,14}})(?:-[A-Z][a-z]+)?(?P<rest>(?:[ ](?:{_PARTICLE}[ ])?{_UP}){{1,3}})"
)
_REVERSED = re.compile(r"\b(?P<s>[A-Z][a-zà-ÿA-Z'-]{1,24}), (?P<g>[A-Z][a-zà-ÿ]{1,14})\b(?:[ ][A-Z]\b)?")
_AGED = re.compile(
    rf"\b{_NAME}(?:,? (?:is )?(?:an? )?\(?\d{{1,3}}(?:[ -]?(?:years?[ -]old|y/?o\b|yrs?\b|[MFmf]\b|[ ]?\)|, (?:male|female|m|f)\b))|,? \(?DOB\b)"
)
_SINGLE = re.compile(
    r"(?<![\w.])(?P<g>[A-Z][a-z]{2,14})(?='s\b|[ ](?:has|had|is|was|suffers|suffered|takes|took|needs|reports?|reported|complains?|complained|"
    r"presents?|presented|denies|denied|states|stated|underwent|received|developed|came|feels|felt|lives|died|who|"
    r"tested|says|said|wants|asked|weighs|smokes|visited|recently|also)\b)"
)

# Two capitalised words inside a sentence, where a person is likelier than a heading: "add Bekbolat Musliyevich to".
_INSIDE = re.compile(
    r"(?<=[a-z] )(?<!\bof )(?<!\babout )(?<!\bhave )(?<!treat )(?<!prevent )(?<!diagnose )(?<!causes )(?<!\bdoes )(?<!ted by )(?<!\bthe )(?<!\ba )"
    r"(?P<n>[A-ZÀ-ÖØ-ÞŁŚŽŠČĐ][a-zà-ÿĀ-ž]{1,20}(?:-[A-Z][a-z]+)?(?: [A-Z]\.?)?(?: (?:de la|de|da|van|von|van der|al|bin) | )"
    r"[A-ZÀ-ÖØ-ÞŁŚŽŠČĐ][A-Za-zà-ÿĀ-ž'-]{2,24})(?![\w-]| [A-Z(]| (?:syndrome|disease|disorder|type|deficiency|virus|infection|cancer|tumou?r))"
)
# And at the start of one, where what follows is said of a person.
_SUBJECT = re.compile(
    r"(?:^|(?<=[.!?\n>\":] )|(?<=[\n>\"]))(?P<n>[A-ZÀ-ÖØ-ÞŁŚŽŠČĐ][a-zà-ÿĀ-ž]{1,20}(?: [A-Z]\.?)? [A-ZÀ-ÖØ-ÞŁŚŽŠČĐ][a-zà-ÿĀ-ž'-]{2,24})"
    r"(?='s |, (?:the|a|an|can|age|aged|\d)| (?:has|had|is|was|suffers|suffered|takes|took|needs|reports?|reported|complains?|complained|presents?|presented|"
    r"denies|denied|states|stated|underwent|received|developed|lives|lived|died|who|says|said|from|wants|visited|came|feels|weighs|tested)\b)"
)
_GIVEN_INSIDE = re.compile(
    r"(?<=[a-z] )(?<!\bof )(?<!\babout )(?<!\bhave )(?<!treat )(?<!\bthe )(?P<g>[A-Z][a-z]{2,14})(?![\w-]| [A-Z]| (?:syndrome|disease|disorder|type|virus|test|sign|reflex|procedure|score|scale|criteria))"
)

# Typed without capitals: "john smith has diabetes".
_LOWER_PAIR = re.compile(
    r"\b(?P<g>[a-z]{3,14}) (?P<s>[a-z][a-z'-]{2,20})(?= (?:has|had|is|was|suffers|takes|needs|reports|presents|presented|who|aged)\b|'s )"
)
# Dictated: "patient is john smith date of birth march fourth".
_LOWER_CUED = re.compile(
    r"\b(?:patient|pt|client|son|daughter|wife|husband|mother|father|mum|mom|dad|brother|sister)(?: is| was| named| called|,|:)? "
    r"(?P<g>[a-z]{3,14}) (?P<s>[a-z][a-z'-]{2,20})\b"
)
_ALSO_WORDS = frozenset(
    """max frank jack jean robin heather crystal jasmine rosemary viola aurora carol jan gloria lance will may mark grace faith
    hope joy april june august dawn rose iris amber ruby pat bill sue chase grant drew miles art ray guy dean wade""".split()
)

_NOT_A_SURNAME = frozenset(
    """disease diseases clubfoot syndrome syndromes disorder disorders type tumor tumors tumour cancer lymphoma anemia sign test
    reflex deficiency palsy ataxia dystrophy malformation malformations dysplasia sarcoma sarcoma's anomaly
    street st road avenue ave lane drive court university college hospital clinic school institute inc llc ltd corp
    corporation company co bank group partners associates foundation center centre act law county river island islands
    city state airport church park theorem equation model method algorithm criterion inequality wallis whitney
    brown's""".split()
)
_NOT_A_NAME = frozenset(
    """the this that these those there here what when where why who how which and but or not is are was were has have
    had can could will would should may might do does did a an in on at of to for from with by as if then so no yes
    please thanks thank hello hi dear sir madam all any some my your his her its our their i you he she it we they us me
    patient patients doctor nurse mother father user assistant customer service support team bank everyone everybody
    name number string int str none null true false unknown john's id type value file function test example class
    january february march april may june july august september october november december monday tuesday wednesday
    thursday friday saturday sunday english french german spanish american british new north south east west
    sure sorry glad happy afraid looking trying going wondering just also really very still well good fine right here's
    yeah yes yep yup nope nah oh ah um uh hm hmm huh okay ok okey wow hey bye actually absolutely maybe honestly
    unfortunately fortunately sometimes usually mostly never nothing everything only both one two three other another much
    let let's i'm i've i'll i'd it's that's they're we're you're he's she's x y z both today yesterday terrible great shall
    definitely probably certainly currently once every each more most many
    about after before because since until between into company state court united""".split()
)
_THINGS = frozenset(
    """america american africa african asia asian europe european united states kingdom york jersey zealand hampshire carolina
    dakota virginia mexico los angeles san santa francisco diego las vegas hong kong korea arabia rico
    city county street park lake river mount north south east west northern southern eastern western central national
    international federal royal great british english german french spanish chinese japanese indian canadian russian
    supreme district circuit board committee department ministry office union house senate congress parliament commission
    world war civil law act code title chapter section article exhibit appendix schedule agreement contract party parties
    effective date intellectual property confidential master license services service products product software
    data machine learning deep neural network artificial language google microsoft apple amazon python java windows linux
    visual studio wall black white red green blue high low super prime minister president king queen prince princess
    stock exchange bank federal reserve credit card social security insurance health medical care child adult
    childhood development mental physical family heart blood brain lung liver kidney skin bone eye cell
    virus fever nile lou test drug food water air new year eve day christmas easter thanksgiving good morning team
    center centre hospital clinic institute university college school general public human resources web site apple's
    net per third first second monday tuesday wednesday thursday friday saturday sunday january february march april may
    june july august september october november december ray rays""".split()
)
_MEDICAL = WEAK.union(*STRONG.values())
_THING_ENDINGS = (
    "tion", "sion", "ment", "ness", "ics", "ogy", "osis", "itis", "emia", "oma", "ies", "ing", "ity", "ance", "ence", "ous", "ive",
    "ary", "ular", "ical", "ial", "ia", "tes", "cts", "ents", "ers", "ism", "ure", "ed", "oid", "graphy", "nal", "tic", "lic",
    "phic", "pathy", "tory",
)  # fmt: skip


def looks_named(cell: str) -> bool:
    """Is all of a short text a person's name: Jane Doe, Doe, Jane, DOE JANE?"""
    words = [word.strip(".") for word in cell.replace(",", " ").split()]
    if not 2 <= len(words) <= 4 or not all(word[:1].isupper() and word.replace("-", "").isalpha() for word in words):
        return False
    return _plausible(" ".join(words)) and not _common(" ".join(words))


def find_named(window: Window) -> Iterator[Finding]:
    """Names after a cue that says "name" outright; these may be in lower case."""
    if not any(cue in window.lower for cue in _NAME_CUES):
        return
    for match in _NAMED.finditer(window.text, window.start, window.end):
        at = match.end()
        here = _NAME_HERE.match(window.text, at, window.end) or _LOWER_HERE.match(window.text, at, window.end)
        if here and _plausible(here["n"]) and not _spoken(match.group(), here["n"]):
            yield Finding("person", *here.span("n"))


def _spoken(cue: str, name: str) -> bool:
    """Is the cue a speaker's label ("Patient: Yeah") rather than a field of a form ("Patient: Jane Doe")?"""
    cue = cue.lower()
    label = ":" in cue and "name" not in cue
    return label and len(name.split()) == 1 and name.lower().rstrip(".'") not in GIVEN_NAMES


def _role(match: re.Match[str]) -> bool:
    cue = match.string[match.start() : match.start("n")]
    return _plausible(match["n"]) and not _spoken(cue, match["n"])


def _plausible_match(match: re.Match[str]) -> bool:
    return _plausible(match["n"])


def _pair(match: re.Match[str]) -> bool:
    return match["g"].lower() in GIVEN_NAMES and _surname(match["rest"].split())


def _lower_pair(match: re.Match[str]) -> bool:
    return match["g"] in GIVEN_NAMES and match["g"] not in _ALSO_WORDS and match["s"] not in _NOT_A_NAME


def _reversed(match: re.Match[str]) -> bool:
    # Two given names in a row are a list ("Anna, Tom and I"), still persons.
    return match["g"].lower() in GIVEN_NAMES and match["s"].lower() not in _NOT_A_NAME


def _single(match: re.Match[str]) -> bool:
    after = match.string[match.end() : match.end() + 20].split(" ", 2)[-1]
    return match["g"].lower() in GIVEN_NAMES and after.strip(" ?.,").lower() not in _NOT_A_SURNAME


def _given_inside(match: re.Match[str]) -> bool:
    return match["g"].lower() in GIVEN_NAMES and _after_lower(match)


def _subject(match: re.Match[str]) -> bool:
    return _plausible(match["n"]) and not _common(match["n"])


def _inside(match: re.Match[str]) -> bool:
    return _subject(match) and _after_lower(match)


def _plausible(name: str) -> bool:
    words = name.lower().rstrip(".'").split()
    first = words[0].removesuffix("'s") if words else ""
    return len(first.strip(".")) > 0 and first not in _NOT_A_NAME and words[-1].rstrip(".,") not in _NOT_A_SURNAME


def _after_lower(match: re.Match[str]) -> bool:
    """Is the word before in lower case? If not, the match is the tail of a title ("Urinary Tract Infections")."""
    before = match.string[max(0, match.start() - 32) : match.start()].split()
    return bool(before) and before[-1][:1].islower()


def _common(name: str) -> bool:
    """Title case for things: places, bodies, subjects and conditions that are often written in capitals."""
    return any(
        word.strip(".'") in _THINGS or word.endswith(_THING_ENDINGS) or {word, word.removesuffix("s")} & _MEDICAL
        for word in name.lower().split()
    )


def _surname(words: list[str]) -> bool:
    return not any(word.lower().strip(".,'") in _NOT_A_SURNAME for word in words)


def _titled(match: re.Match[str]) -> bool:
    """A title that ends a line has its name on the next; one that is the line, as "MS" or "DR" over figures, has not."""
    before = match.string[max(0, match.start() - 1) : match.start()]
    alone = "\n" in match.group()[: match.start("n") - match.start()] and before in ("", "\n")
    return not alone and _plausible_match(match)


_NAME_CUES = (
    "name", "patient", "contact", "attending", "physician", "provider", "next of kin", "nom", "apellido", "insured",
    "guarantor", "ich hei", "m'appelle", "me llamo", "mi chiamo", "i am called", "they call me", "goes by",
)  # fmt: skip
_AGE_CUES = ("year", "y/o", "yo", "yr", "dob", "male", ", m", ", f", ")", "m", "f")

PERSONS = (
    Pattern("person", _TITLED, group="n", valid=_titled, capital=True),
    Pattern("person", _TITLED_LOWER, ("mr", "ms", "dr"), group="n", valid=_plausible_match),
    Pattern("person", _ROLE, group="n", valid=_role, capital=True),
    Pattern("person", _AGED, _AGE_CUES, group="n", valid=_plausible_match, capital=True, digit=True),
    Pattern("person", _INSIDE, group="n", valid=_inside, capital=True),
    Pattern("person", _SUBJECT, group="n", valid=_subject, capital=True),
    Pattern("person", _GIVEN_INSIDE, group="g", valid=_given_inside, capital=True),
    Pattern("person", _LOWER_PAIR, valid=_lower_pair),
    Pattern(
        "person",
        _LOWER_CUED,
        ("patient", "pt", "client", "son", "ter", "wife", "band", "ther", "mum", "mom", "dad"),
        valid=_lower_pair,
    ),
    Pattern("person", _PAIR, valid=_pair, capital=True),
    Pattern("person", _REVERSED, valid=_reversed, capital=True),
    Pattern("person", _SINGLE, group="g", valid=_single, capital=True),
)
