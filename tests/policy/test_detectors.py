"""What the built-in detectors find, what they leave alone, and how long they take."""

import random
import time

import pytest

from concertino.policy.base import Kind
from concertino.policy.health import HealthContextDetector
from concertino.policy.identifiers import IdentifierDetector
from concertino.policy.text import normalise

IDENTIFIERS = IdentifierDetector()
HEALTH = HealthContextDetector()


def types(text: str) -> set[str]:
    return {finding.type for finding in IDENTIFIERS.detect(normalise(text))}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.doe@example.org today", "email"),
        ("jane (at) example (dot) org", "email"),
        ("call +44 20 7946 0958", "phone"),
        ("call me on (202) 555-0143", "phone"),
        ("ring 030/9018200 in Berlin", "phone"),
        ("Phone: 9469 9966", "phone"),
        ("078-05-1120 is on the form", "us_ssn"),
        ("pay DE89 3704 0044 0532 0130 00 please", "iban"),
        ("4111 1111 1111 1111", "card"),
        ("NHS 943 476 5919", "nhs_number"),
        ("AHV 756.9217.0769.85", "official_id"),
        ("DNI 12345678Z", "official_id"),
        ("from 203.0.113.77 at night", "ip_address"),
        ("MRN: 00482913", "record_number"),
        ("patient id is A-88412", "record_number"),
        ("DOB 03/14/1962", "date_of_birth"),
        ("born on 5 May 1971", "date_of_birth"),
        ("she lives at 27 Moss Lane", "address"),
        ("Hauptstraße 5, Bonn", "address"),
        ("patient Xolani Dlamini", "person"),
        ("my name is xolani dlamini", "person"),
        ("Mrs Okonkwo came back", "person"),
        ("John Smith has diabetes", "person"),
        ("john smith has type 2 diabetes", "person"),
        ("Name: Xolani", "person"),
        ("Patient: Xolani Dlamini", "person"),
        ("add Bekbolat Musliyevich to it", "person"),
        ("patient is john smith date of birth march fourth", "person"),
        ("the patient, Mr\nOkafor", "person"),
        ("Mevrouw Jansen", "person"),
        ("dob: 19620304", "date_of_birth"),
        ("DOB 04MAR1962", "date_of_birth"),
        ("nato il 12/03/1960", "date_of_birth"),
    ],
)
def test_an_identifier_is_found(text: str, kind: str) -> None:
    assert kind in types(text)


EXCHANGED = {
    "HL7 v2": ("PID|1||987654^^^HOSP^MR||OKAFOR^CHIDI||19620304|M", {"record_number", "person"}),
    "HL7 v2, next of kin": ("NK1|1|OKAFOR^NKECHI|SPO", {"person"}),
    "FHIR, a name": ('{"name": [{"family": "Okafor", "given": ["Chidi"]}]}', {"person"}),
    "FHIR, a birth date": ('{"birthDate": "1962-03-04"}', {"date_of_birth"}),
    "FHIR, a reference": ('{"subject": {"reference": "Patient/98765"}}', {"record_number"}),
    "FHIR, who is meant": ('{"subject": {"display": "Chidi Okafor"}}', {"person"}),
    "a path": ("GET https://ehr.example/patients/987654/conditions", {"record_number"}),
    "CDA, a name": ("<name><given>Chidi</given><family>Okafor</family></name>", {"person"}),
    "CDA, a birth date": ('<birthTime value="19620304"/>', {"date_of_birth"}),
    "CDA, a number": ('<patientRole><id extension="987654" root="2.16.840"/>', {"record_number"}),
    "CSV": ("mrn,sex,diagnosis\n987654,M,asthma", {"record_number"}),
    "CSV with names": ("name,city\nChidi Okafor,Bern", {"person"}),
    "CSV with quotes": ('"Last name","City"\n"Okafor, MD",Bern', {"person"}),
    "TSV": ("Patient\tDx\nOkafor, Chidi\tasthma", {"person"}),
    "semicolons": ("Nachname;Vorname\nOkafor;Chidi", {"person"}),
    "Markdown": ("| Patient | MRN |\n|---|---|\n| Chidi Okafor | 987654 |", {"person"}),
    "a full name": ("full name;city\nChidi Okafor;Bern", {"person"}),
    "a patient's number": ("Patient,Dx\n7,asthma", {"record_number"}),
    "a title at the end of a line": ("The letter is for Herr\nOkafor.", {"person"}),
    "SQL": ("INSERT INTO visits (mrn, dx) VALUES ('987654', 'asthma');", {"record_number"}),
}  # fmt: skip


@pytest.mark.parametrize("form", EXCHANGED)
def test_an_identifier_is_found_by_its_place_in_a_record(form: str) -> None:
    text, kinds = EXCHANGED[form]
    assert kinds <= types(text)


@pytest.mark.parametrize(
    "text",
    [
        "name,dose\nmetformin,500 mg",
        "| Name | Use |\n|---|---|\n| metformin | diabetes |",
        "| Name | Use |\n|---|---|\n| Machine Learning | a service |",
        "mrn,name\n,",
        "CREATE TABLE visits (mrn text, dob date);",
        "INSERT INTO drugs (name, dose) VALUES ('metformin', 500);",
        '{"family": "", "given": []}',
        "Patient/ID is how FHIR refers to one",
        "patients, carers, and friends\nneed support, rest, and time",
        "| Code | Full name |\n|---|---|\n| E11 | type 2 diabetes mellitus |",
        "| Month | Mobile | Desktop |\n|---|---|---|\n| May | 40 % | 60 % |",
        "phone,model\niPhone 12,A",
        "Nom;Prix\nProduit 1;5",
        "| client | server |\n|---|---|\n| v1.2 | v1.3 |",
        "| Team | PT |\n|---|---|\n| Ajax | 30 |",
        "Case no,Input\n1,5",
        '{"layout": {"font": {"size": 12, "family": "Arial"}}}',
        "data/patients/2024.csv and /patients/v2",
        "DR\nCash 500\nCR\nSales 500",
        "round it to 3 Sig Figs",
    ],
)
def test_a_table_or_a_form_of_other_things_identifies_nobody(text: str) -> None:
    assert not types(text)


@pytest.mark.parametrize(
    "text",
    [
        "upgrade from version 10.2.1 to v10.3.0.1",
        "in the years 2019-2021 revenue rose to 1,452,400",
        "the total was $12,345.67 on 2024-03-01",
        "4111 1111 1111 1112",
        "000-12-3456",
        "sort [1, 2, 3, 40, 50] with merge sort",
        "listen on 127.0.0.1:8080",
        "Doctor: Any pain? \nPatient: Yeah. \nDoctor: Since when?",
        "what are the symptoms of Parkinson disease",
        "How to prevent Urinary Tract Infections ?",
    ],
)
def test_what_only_looks_like_an_identifier_is_left_alone(text: str) -> None:
    assert types(text) == set()


def test_an_account_number_with_a_wrong_check_digit_is_no_iban() -> None:
    assert "iban" not in types("DE89 3704 0044 0532 0130 01")


@pytest.mark.parametrize(
    "text",
    [
        "４１１１ １１１１ １１１１ １１１１",
        "4111\u200b1111\u200b1111\u200b1111",
        "41\u00ad11111111111111",
        "٤١١١١١١١١١١١١١١١",
        "4111\u20111111\u20111111\u20111111",
    ],
)
def test_unicode_dress_does_not_hide_a_card(text: str) -> None:
    assert "card" in types(text)


@pytest.mark.parametrize("before", range(250, 262))
def test_a_letter_and_its_accent_are_one_wherever_they_stand(before: int) -> None:
    assert normalise("x" * before + "e\u0301") == "x" * before + "é"


@pytest.mark.parametrize(
    "text",
    [
        "she was diagnosed with lupus",
        "I take metformin 500 mg",
        "BP 142/91 this morning",
        "E11.9 without complications",
        "my doctor said so",
        "I feel depressed",
        "a laparoscopic cholecystectomy",
        "dia\u00adbetes",
        "ｄｉａｂｅｔｅｓ",
        "asthma/copd",
        "/conditions/diabetes",
        "hx of HTN/T2DM",
        "he had a heart\nattack",
        "she wants to end her life",
        "Verdacht auf Schlaganfall",
        "chronische Nierenerkrankung",
        "une insuffisance cardiaque",
        "traité pour un infarctus",
        "padece hipertensión",
        "soffre di ipertensione",
        "opgenomen na een beroerte",
        "suspeita de câncer",
        "long known to have DM2",
        "letzte Woche wurde operiert",
        "opérée d'une hernie",
        "tiene asma y fuertes dolores",
        "souffre de dépression",
        "en arrêt maladie depuis mars, dit l'assurance maladie",
    ],
)
def test_a_health_context_is_found(text: str) -> None:
    assert HEALTH.detect(normalise(text))


@pytest.mark.parametrize(
    "text",
    [
        "find files larger than 10 MB",
        "my card was declined",
        "this agreement is governed by law",
        "the hypothesis holds",
        "Verdacht auf Betrug, der Vertrag leidet an einem Mangel",
        "une ordonnance du tribunal, et un vice dont souffre le contrat",
        "la cuenta sufre retrasos y el pago fue ingresado",
        "il conto soffre di ritardi",
        "die Firma operiert weltweit und kann den Verlust verschmerzen",
        "die Selbstentzündung des Lagers ist nicht versichert",
        "ein Blatt von 50 dm² und eines von 2 dm2",
        "le virement opéré le 3 mars, et la saisie opérée par l'huissier",
        "la dépression économique, la depresión de 1929, la depressione dei mercati, a depressão de 1929",
        "o remédio constitucional e os remédios jurídicos",
        "la cotisation maladie et l'assurance maladie de la Caisse d'assurance-maladie",
        "Dolores Molina firma el contrato con Asma Khan",
    ],
)
def test_other_subjects_are_no_health_context(text: str) -> None:
    assert not HEALTH.detect(normalise(text))


def test_findings_point_at_the_text_and_never_hold_it() -> None:
    text = "x" * 20_000 + " jane.doe@example.org"
    (finding,) = [item for item in IDENTIFIERS.detect(text) if item.type == "email"]
    assert text[finding.start : finding.end] == "jane.doe@example.org"
    assert "jane" not in repr(finding)


def test_the_end_of_a_megabyte_is_read_too() -> None:
    filler = "lorem ipsum dolor sit amet " * 37_000
    assert {item.type for item in IDENTIFIERS.detect(filler + " 4111111111111111")} == {"card"}
    assert {item.type for item in HEALTH.detect(filler + " asthma")} == {"condition"}


def test_each_detector_says_its_kind() -> None:
    assert (IDENTIFIERS.kind, HEALTH.kind) == (Kind.IDENTIFIER, Kind.HEALTH)


_MIXED = random.Random(7)
HOSTILE = {
    **{unit: unit for unit in ("a", "1", "(", "@", "-", ".", " ", "+", ":", "/")},
    **{
        unit: unit for unit in ("a@", "12-", "1 a ", "0 0", "+1 (", "Ab ", "AB12 ", "1111 ", "my name is ", "12 rue a ")
    },
    **{
        unit: unit
        for unit in ("PID|", "PID|1||a^b", "name,mrn\n", "name|\n\n", '"subject": {', "<given ", "(a,b) values (")
    },
    "combining": "\u0327\u0301",
    "mixed": "".join(_MIXED.choice("a1(@- .:/AbM") for _ in range(4_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_length_and_no_faster(name: str) -> None:
    unit = HOSTILE[name]

    def seconds(size: int) -> float:
        text = (unit * (size // len(unit) + 1))[:size]
        started = time.process_time()
        text = normalise(text)
        IDENTIFIERS.detect(text)
        HEALTH.detect(text)
        return time.process_time() - started

    # Eight times the text, far less than sixty-four times the time.
    assert seconds(200_000) < 24 * max(seconds(25_000), 0.005)
