# ruff: noqa: E501 - a pattern reads better unbroken
"""Identifiers in the forms in which hospitals exchange records: HL7 v2, FHIR, CDA, and tables with a heading.

There a name or a number has no word beside it that says so, only its place: a field, a key, an element, a column.
Sources: HL7 v2.5.1 chapter 3 (PID, MRG) and 6 (GT1, NK1 in 3), HL7 FHIR R4 (Patient, Reference), HL7 CDA R2.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

from concertino.policy.base import Finding
from concertino.policy.patterns import Pattern, Window
from concertino.policy.persons import looks_named

_FIELD = r"[^|\r\n]{0,200}\|"
_PID_NUMBER = re.compile(rf"\bPID\|(?:{_FIELD}){{1,3}}(?P<v>[^|\r\n]{{0,40}}\d[^|\r\n]{{0,160}})")
_SEGMENT_NAME = re.compile(
    rf"\b(?:PID\|(?:{_FIELD}){{4}}|NK1\|{_FIELD}|GT1\|(?:{_FIELD}){{2}}|MRG\|(?:{_FIELD}){{6}})(?P<v>[^\W\d_][^|^\r\n]{{0,60}}\^[^\W\d_][^|\r\n]{{0,60}})"
)
_FHIR_NAME = re.compile(
    r'"(?:family|given|familyName|givenName)"\s{0,4}:\s{0,4}\[?\s{0,4}"(?P<v>[^\W\d_][^"\n]{0,60})"'
)
_FHIR_WHO = re.compile(
    r'"(?:subject|patient|beneficiary|individual|subscriber)"\s{0,4}:\s{0,4}\{[^{}]{0,300}?"display"\s{0,4}:\s{0,4}"(?P<v>[^\W\d_][^"\n]{0,60})"'
)
_RESOURCE_ID = re.compile(r"\b[Pp]atients?/(?P<v>(?!(?:19|20)\d\d\b|v\d)(?=[A-Za-z-]{0,8}\d)[\w.-]{3,64})")
_CDA_NAME = re.compile(
    r"<(?:\w{1,16}:)?(?:given|family|firstName|lastName|surname|patientName)\b[^<>]{0,80}>(?P<v>[^\W\d_][^<>]{0,60})<"
)
_CDA_BIRTH = re.compile(r'<(?:\w{1,16}:)?birthTime\b[^<>]{0,40}\bvalue="(?P<v>\d{4,14})')
_CDA_NUMBER = re.compile(
    r'patientRole\b[^<>]{0,80}>\s{0,40}<(?:\w{1,16}:)?id\b[^<>]{0,120}\bextension="(?P<v>[^"<>]{1,64})"'
)

_FONT = re.compile(r"\bfont", re.IGNORECASE)
_BEFORE_FAMILY = 60


def _is_no_font(match: re.Match[str]) -> bool:
    """Charts have families too: {"font": {"family": "Arial"}}."""
    return not _FONT.search(match.string, max(0, match.start() - _BEFORE_FAMILY), match.start())


EXCHANGED = (
    Pattern("record_number", _PID_NUMBER, ("pid|",), "v", digit=True),
    Pattern("person", _SEGMENT_NAME, ("pid|", "nk1|", "gt1|", "mrg|"), "v"),
    Pattern("person", _FHIR_NAME, ('"family', '"given'), "v", _is_no_font),
    Pattern("person", _FHIR_WHO, ('"display"',), "v"),
    Pattern("record_number", _RESOURCE_ID, ("patient/", "patients/"), "v", digit=True),
    Pattern("person", _CDA_NAME, ("given", "family", "firstname", "lastname", "surname", "patientname"), "v"),
    Pattern("date_of_birth", _CDA_BIRTH, ("birthtime",), "v", digit=True),
    Pattern("record_number", _CDA_NUMBER, ("patientrole",), "v"),
)

_COLUMNS = {
    **dict.fromkeys(
        ("mrn", "mrn no", "medical record number", "medical record no", "patient id", "patient no", "patient number",
         "hospital no", "hospital number", "case no", "case number", "encounter id", "encounter no", "nhs no", "nhs number",
         "patientennummer", "fallnummer", "insurance no", "insurance number", "member id", "policy no", "policy number"),
        "record_number",
    ),
    **dict.fromkeys(
        ("dob", "d.o.b", "date of birth", "birth date", "birthdate", "geburtsdatum", "date de naissance", "fecha de nacimiento"),
        "date_of_birth",
    ),
    **dict.fromkeys(
        ("patient name", "first name", "last name", "firstname", "lastname", "surname", "given name", "family name",
         "nachname", "vorname", "prénom", "apellidos", "cognome"),
        "person",
    ),
    **dict.fromkeys(("ssn", "social security number", "passport", "passport no", "national id", "ahv"), "official_id"),
    **dict.fromkeys(("phone", "phone number", "telephone", "mobile", "telefon"), "phone"),
}  # fmt: skip
"""Headings under which every cell identifies somebody."""
_PATIENTS = frozenset(("patient", "patientin", "patiente", "paciente", "paziente", "patiënt"))
_NAMES = _PATIENTS | {"name", "full name", "client", "who", "nom", "nombre", "nome", "pt"}
"""Headings under which a cell does if it looks like a person's name, or, under a patient, has a number."""
_FEWEST_DIGITS = {"phone": 6, "official_id": 4}
"""A share of visits by mobile is no telephone number, and a passport's rank no passport's number."""
_COUNTED = frozenset(("case no", "case number"))
"""Headings that test cases have too, which are counted from 1."""
_FEWEST_COUNTED = 3
_NEEDS = (
    "mrn", "name", "patient", "client", "dob", "birth", "number", " no", "id", "ssn", "phone", "mobile", "nom", "pt",
)  # fmt: skip
_SEPARATORS = "|\t;,"
_LONGEST_CELL = 40
_ROWS = 3
"""After the heading, in which something must stand: the line under a Markdown heading, and perhaps an empty row."""
_INSERT = re.compile(r"\((?P<head>[^()\n]{3,400})\)\s{0,20}values\s{0,20}\((?P<row>[^()]{1,400})\)", re.IGNORECASE)


def find_columns(window: Window) -> Iterator[Finding]:
    """Cells of tables (CSV, TSV, Markdown) and of SQL's INSERT whose heading says that they identify somebody."""
    lower = window.lower
    if not any(need in lower for need in _NEEDS):
        return
    text = window.text[window.start : window.end]
    if "values" in lower:
        for match in _INSERT.finditer(text):
            found = _identifying(_cells(match["head"], ","), [_cells(match["row"], ",", "'")])
            if found:
                yield Finding(found, window.start + match.start("row"), window.start + match.end("row"))
    if "\n" not in text:
        return
    lines, at = text.splitlines(keepends=True), window.start
    for place, line in enumerate(lines[:-1]):
        separator = _separator(line) if any(need in line.lower() for need in _NEEDS) else None
        if separator and (heads := _cells(line, separator)):
            rows = (_cells(row, separator) for row in lines[place + 1 : place + 1 + _ROWS])
            if found := _identifying(heads, rows):
                yield Finding(found, at + len(line), at + len(line) + len(lines[place + 1]))
                return  # the rest of the window says it again
        at += len(line)


def _separator(line: str) -> str | None:
    """What a heading is divided by: the first sign of which it has any, if all that it divides is short."""
    for sign in _SEPARATORS:
        if sign in line:
            return sign if len(line) <= _LONGEST_CELL * (line.count(sign) + 1) else None
    return None


def _cells(line: str, separator: str, quote: str = '"') -> list[str]:
    """Nothing where the line cannot be read as a row."""
    line = line.strip()
    if separator == "|":
        line = line.strip("|")
    try:
        row = next(csv.reader([line], delimiter=separator, quotechar=quote, skipinitialspace=True), [])
    except csv.Error:
        return []
    return [cell.strip(" \t\"'`*_") for cell in row]


def _identifying(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str | None:
    """The type of the first cell that identifies somebody by its heading."""
    named = [head.lower().replace("_", " ").rstrip(".:#") for head in heads]
    columns = [(place, head) for place, head in enumerate(named) if head in _COLUMNS or head in _NAMES]
    if not columns:
        return None
    for row in rows:
        if len(row) != len(heads):
            continue
        for place, head in columns:
            if kind := _kind(head, row[place]):
                return kind
    return None


def _kind(head: str, cell: str) -> str | None:
    """What a cell is by its heading, if it is something of that kind; the next heading or a description is not."""
    kind, digits = _COLUMNS.get(head), sum(map(str.isdigit, cell))
    if kind is None and looks_named(cell):
        return "person"
    if kind is None:
        return "record_number" if head in _PATIENTS and digits else None
    if kind == "person":
        return kind if cell[:1].isalpha() and len(cell.split()) <= 4 else None
    fewest = _FEWEST_COUNTED if head in _COUNTED else _FEWEST_DIGITS.get(kind, 1)
    return kind if digits >= fewest else None
