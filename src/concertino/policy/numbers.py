# ruff: noqa: E501 - a pattern reads better unbroken
"""Identifiers made of digits: cards, accounts, national ids, telephone numbers, record numbers, dates of birth.

Every pattern is bounded in length and starts at a word's edge, so that a megabyte of hostile text costs linear time.
A number with a check digit needs no cue; one without needs a word before it that says what it is.
"""

import re
from collections.abc import Iterator

from concertino.policy import checksums
from concertino.policy.base import Finding
from concertino.policy.patterns import Pattern, Window

# Everything numeric stands in a stretch like this; the strict patterns then look into the stretches only.
_STRETCH = re.compile(r"[+(]?\d[\d .()/\-]{5,}")

_CARD = re.compile(
    r"(?<!\d)(?:\d{12,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5})(?!\d)"
)
_TEN = re.compile(r"(?<![\d.-])\d{3}([ -]?)\d{3}\1\d{4}(?![\d.])")
_AHV = re.compile(r"(?<!\d)756([. ]?)\d{4}\1\d{4}\1\d{2}(?!\d)")
_SSN = re.compile(r"(?<![\d-])\d{3}([- ])\d{2}\1\d{4}(?![\d-])")
_NIR = re.compile(r"(?<!\d)[12] ?\d{2} ?\d{2} ?\d{2} ?\d{3} ?\d{3} ?\d{2}(?!\d)")
_IP4 = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\d.])")

# Telephone numbers that need no cue: an international prefix, or a national grouping that little else uses.
_PHONE = re.compile(
    r"(?<![\w.+-])(?:"
    r"\+[1-9]\d{0,2}(?:[ .-]?\(0\))?(?:[ .-]?\(?\d{1,5}\)?){2,6}"  # E.164, +41 (0)44 668 18 00
    r"|00[1-9]\d{0,2}(?:[ .-]\(?\d{2,5}\)?){2,5}"
    r"|(?:1[ .-])?\(\d{3}\) ?\d{3}[ .-]\d{4}"  # (202) 555-0143
    r"|(?:1[ .-]|001[ .-])?[2-9]\d{2}([.-])\d{3}\1\d{4}"  # 202-555-0143
    r"|[2-9]\d{2} \d{3} \d{4}"
    r"|\(?0\d{2,5}\)?[ /-]\d{3,4}(?:[ -]\d{2,4}){0,2}"  # 020 7946 0958, 030/901820
    r"|0[1-9](?:([ .])\d{2})(?:\2\d{2}){3}"  # 01 44 55 66 77
    r"|07\d{9}|01[567]\d{8,9}"  # UK and German mobiles
    r")(?![\d/])"
)
_YEARLIKE = re.compile(r"(?:19|20)\d{2}[-/.]\d{1,2}[-/.]\d{1,2}")

_CALL_WORDS = (
    r"phone|telephone|mobile|cell|tel|fax|call|called|calling|dial|reach|text|sms|whatsapp|ring|answering|contact|"
    r"messages? to|registered|telefon|handy|t[ée]l[ée]phone|m[óo]vil|office|desk|ph"
)
_CUED_PHONE = re.compile(
    rf"\b(?:{_CALL_WORDS})\b[^\d\n]{{0,24}}\n?[ ]{{0,4}}(?P<v>\(?\+?\d(?:[ .()/-]{{0,2}}\d){{5,14}})(?!\d)(?![.,]\d)",
    re.IGNORECASE,
)
_PHONE_CUED_AFTER = re.compile(
    r"(?<![\w.+-])(?P<v>\+?\d(?:[ .()/-]?\d){5,13})[ ]?(?:-[ ]?)?(?:office|fax|mobile|cell|home|tel)\b", re.IGNORECASE
)

_DATE = (
    r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}(?:st|nd|rd|th)?[ .]{1,2}(?:of )?[A-Za-zéûä]{3,10}[,.]?[ ]\d{2,4}"
    r"|[A-Za-z]{3,9}\.?[ ]\d{1,2}(?:st|nd|rd|th)?,?[ ]\d{2,4}"
    r"|(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)"  # 19620304
    r"|\d{1,2}[ -]?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}[ -]?\d{2,4})"  # 04MAR1962
)
_BIRTH = re.compile(
    r"\b(?:d\.?o\.?b\b\.?|date of birth|birth ?date|birthday|born(?: on| in)?|geboren(?: am| op)?|geb\.|geburtsdatum|"
    rf"n[ée]e? le|nat[oa] il|nacid[oa] el|nascid[oa] em|fecha de nacimiento)[^\w\n]{{0,6}}(?:(?:is|on|was|it's|it is|user|bot|the)[^\w\n]{{0,4}}){{0,4}}(?P<v>{_DATE})",
    re.IGNORECASE,
)
_CARE_DATE = re.compile(
    rf"\b(?:admitted|discharged|admission|discharge|date of (?:service|admission|discharge|visit|death)|seen|died|"
    rf"deceased)(?: date)?(?: on| at)?[ :]{{1,3}}(?P<v>{_DATE})",
    re.IGNORECASE,
)

# `(cue)(up to a few words of "number is:")(value)`. A value has a digit; letters and joints may stand between.
_LINK = r"[ \t]{0,3}(?:no\b\.?|nr\b\.?|number|num\b\.?|#|id\b|code)?[ \t]{0,3}(?:is|was|ist|:|=|#|-|\"|')*[ \t\"']{0,3}(?:is[ ])?"
_CODE = r"(?P<v>(?=[A-Za-z./-]{0,6}\d)[A-Za-z0-9][A-Za-z0-9./-]{2,24})"
_RECORD = re.compile(
    r"\b(?:mrn|medical[ -]?record|med rec|patient[ _-]?(?:id|identifier|no\b\.?|nr\b\.?|number|#)|chart[ _-]?(?:no\b\.?|number|#|id)|"
    r"hospital[ _-]?(?:no\b\.?|number|id)|case[ _-]?(?:no\b\.?|number|id)|encounter[ _-]?(?:id|no\b\.?|number)|"
    r"accession[ _-]?(?:no\b\.?|number)|nhs|medicare|medicaid|patientennummer|fallnummer|health (?:plan|card|insurance))"
    + _LINK + _CODE,
    re.IGNORECASE,
)  # fmt: skip
_ACCOUNT = re.compile(
    r"\b(?:account|acct|a/c|iban|member|membership|policy|subscriber|beneficiary|insurance|konto|sort code|routing)"
    r"[ _-]?(?:no\b\.?|nr\b\.?|number|num\b\.?|#|id\b|code)?[ \t]{0,2}(?:is|:|=|#)*[ \t\"']{0,3}(?:is[ ])?(?P<v>(?=[A-Za-z-]{0,4}\d)[A-Za-z]{0,4}-?\d[\dA-Za-z-]{4,24})",
    re.IGNORECASE,
)
_LICENCE = re.compile(
    r"\b(?:driv(?:er|ing)(?:'?s|s)? ?licen[cs]e|licen[cs]e plate|number plate|passport|visa|national (?:id|identity|insurance)|"
    r"social (?:security|insurance)|ssn|nino|tax ?(?:id|payer)|steuer-?id|id card|identity card|vin|serial|device id)"
    + _LINK + _CODE,
    re.IGNORECASE,
)  # fmt: skip
_NINO = re.compile(r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b")
_DNI = re.compile(r"\b(?:[XYZ][ -]?)?(\d{7,8})[ -]?([A-HJ-NP-TV-Z])\b")
_BSN = re.compile(r"\b(?:bsn|burgerservicenummer)[^\d\n]{0,12}(?P<v>\d{9})\b", re.IGNORECASE)
_IBAN = re.compile(r"\b[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?\b")
_IP6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,6}(?![\w:])")
_AGE = re.compile(r"\b(?:aged? (?:of )?(?P<v>9\d|1[01]\d)|(?P<w>9\d|1[01]\d)[ -]years?[ -]old)\b", re.IGNORECASE)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _telephone(match: re.Match[str]) -> bool:
    number = match.groupdict().get("v") or match.group()
    return 6 <= len(_digits(number)) <= 16 and not _YEARLIKE.match(number)


def _card(match: re.Match[str]) -> bool:
    # 12-digit Maestro and 13 to 19 digits of the issuers; a leading 0, 7, 8 or 9 is no bank's.
    digits = _digits(match.group())
    return digits[0] in "123456" and checksums.luhn(digits)


def _address4(match: re.Match[str]) -> bool:
    """An IPv4 address of somebody: not a version, not 127.0.0.1, 0.0.0.0 or 1.0.0.0, which point at nobody."""
    before = match.string[match.start() - 1 : match.start()]
    parts = match.group().split(".")
    return before not in (*"0123456789.v",) and all(int(part) <= 255 for part in parts) and parts.count("0") < 2


def _address6(match: re.Match[str]) -> bool:
    colons = match.group().count(":")
    return colons == 7 or ("::" in match.group() and colons >= 3)


# Tried inside numeric stretches only.
_NUMERIC = (
    Pattern("card", _CARD, valid=_card),
    Pattern("official_id", _AHV, valid=lambda match: checksums.ean13(_digits(match.group()))),
    Pattern("nhs_number", _TEN, valid=lambda match: checksums.nhs_number(_digits(match.group()))),
    Pattern("us_ssn", _SSN, valid=lambda match: checksums.us_ssn(_digits(match.group()))),
    Pattern("official_id", _NIR, valid=lambda match: checksums.mod97_nir(_digits(match.group()))),
    Pattern("ip_address", _IP4, (".",), valid=_address4),
    Pattern("phone", _PHONE, valid=_telephone),
)
_CALLING = (
    "phone", "mobile", "cell", "tel", "fax", "call", "dial", "reach", "text", "sms", "whatsapp", "ring", "answering",
    "contact", "message", "registered", "handy", "téléph", "móvil", "movil", "office", "desk", "ph",
)  # fmt: skip

NUMBERS = (
    Pattern("phone", _CUED_PHONE, _CALLING, "v", _telephone, digit=True),
    Pattern("phone", _PHONE_CUED_AFTER, ("office", "fax", "mobile", "cell", "home", "tel"), "v", _telephone, digit=True),
    Pattern("date_of_birth", _BIRTH, ("b.", "dob", "birth", "born", "geb", "né", "ne ", "nee ", "nacim", "nato il", "nata il", "nacid", "nascid"), "v", digit=True),
    Pattern("care_date", _CARE_DATE, ("admi", "discharge", "date of", "seen", "died", "deceased"), "v", digit=True),
    Pattern(
        "record_number",
        _RECORD,
        ("mrn", "med", "patient", "chart", "hospital", "case", "encounter", "accession", "nhs", "nummer", "health"),
        "v",
        digit=True,
    ),
    Pattern(
        "account_number",
        _ACCOUNT,
        ("acc", "a/c", "iban", "member", "policy", "subscriber", "beneficiary", "insurance", "konto", "sort", "routing"),
        "v",
        digit=True,
    ),
    Pattern(
        "official_id",
        _LICENCE,
        ("licen", "plate", "passport", "visa", "national", "social", "ssn", "nino", "tax", "id", "vin", "serial"),
        "v",
        digit=True,
    ),
    Pattern("official_id", _NINO, digit=True, capital=True),
    Pattern(
        "official_id", _DNI, digit=True, capital=True,
        valid=lambda match: len(match[1]) == 8 and checksums.spanish_dni(match[1], match[2]),
    ),
    Pattern("official_id", _BSN, ("bsn", "burgerservice"), "v", lambda match: checksums.dutch_bsn(match["v"]), digit=True),
    Pattern("ip_address", _IP6, ("::", ":"), valid=_address6, digit=True),
    Pattern("age_over_89", _AGE, ("age", "year"), digit=True),
)  # fmt: skip


def find_ibans(window: Window) -> Iterator[Finding]:
    """International bank account numbers; the country says how long, so a word that follows is not swallowed."""
    for start, end in window.around_digits:
        for match in _IBAN.finditer(window.text, start, end):
            length = checksums.iban_length(match.group())
            if length:
                yield Finding("iban", match.start(), match.start() + length)


def find_numeric(window: Window) -> Iterator[Finding]:
    """Identifiers of digits alone, inside the numeric stretches of a window."""
    if not window.has_digit:
        return
    for stretch in _STRETCH.finditer(window.text, window.start, window.end):
        inner = Window(window.text, *stretch.span())
        for pattern in _NUMERIC:
            yield from pattern.find(inner)
