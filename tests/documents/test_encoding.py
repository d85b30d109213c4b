"""Texts come out right in the encoding that they are in, or are counted as wrong; they are not made up."""

from pathlib import Path

import pytest

from concertino.documents import Documents, Encoding, Record

PAGES = {
    "iso-8859-2": "Proszę przesłać załączony wyciąg z konta bankowego jeszcze dziś.",
    "windows-1251": "Пришлите выписку по счету сегодня, пожалуйста.",
    "Shift_JIS": "銀行の口座明細を送ってください。お願いします。",
    "iso-8859-1": "Der Preis: 20 \u20ac für Müller.",
}


def text_of(path: Path) -> tuple[str, list[Encoding]]:
    with Documents(500) as documents:
        events = list(documents.read(path))
    text = "\n".join(event.fields["text"] for event in events if isinstance(event, Record))
    return text, [event for event in events if isinstance(event, Encoding)]


@pytest.mark.parametrize("declared", PAGES)
@pytest.mark.parametrize("form", ['<meta charset="{}">', "<meta http-equiv=x content='text/html; charset={}'>"])
def test_a_page_is_read_in_the_encoding_that_it_declares(tmp_path: Path, declared: str, form: str) -> None:
    pytest.importorskip("trafilatura")
    codec = "cp1252" if declared == "iso-8859-1" else declared
    page = f"<html><head>{form.format(declared)}</head><body><p>{PAGES[declared]}</p></body></html>"
    (tmp_path / "a.html").write_bytes(page.encode(codec))
    text, (encoding,) = text_of(tmp_path / "a.html")
    assert PAGES[declared] in text
    assert list(encoding.lines) == [declared.lower()] and not encoding.bad_bytes


@pytest.mark.parametrize("declared", ["iso-8859-2", "utf-16", "nonsense", "hex", "unicode_escape"])
def test_a_page_that_is_utf_8_is_read_so_whatever_it_declares(tmp_path: Path, declared: str) -> None:
    pytest.importorskip("trafilatura")
    page = f'<html><head><meta charset="{declared}"></head><body><p>Grüße aus Łódź an alle.</p></body></html>'
    (tmp_path / "a.html").write_bytes(page.encode())
    assert "Grüße aus Łódź an alle." in text_of(tmp_path / "a.html")[0]


@pytest.mark.parametrize("codec", ["utf-32", "utf-32-be", "utf-16"])
def test_utf_32_is_not_taken_for_utf_16(tmp_path: Path, codec: str) -> None:
    text = "Grüße an die Bank."
    mark = "\ufeff" if codec.endswith("be") else ""
    (tmp_path / "a.txt").write_bytes((mark + text).encode(codec))
    found, (encoding,) = text_of(tmp_path / "a.txt")
    assert found == text and list(encoding.lines) == [codec[:6]]


def test_letters_of_central_europe_are_not_read_as_signs_inside_of_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Proszę przesłać załączony wyciąg.".encode("iso-8859-2"))
    text, (encoding,) = text_of(tmp_path / "a.txt")
    assert "³" not in text and encoding.bad_bytes > 3


@pytest.mark.parametrize("text", ["5 m³ ±3 % für 3£, col·lecció, l´été, ¿qué? Foo®bar", "§5¶2 £9"])
def test_signs_beside_words_are_still_western(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode("cp1252"))
    found, (encoding,) = text_of(tmp_path / "a.txt")
    assert found == text and not encoding.bad_bytes


def test_lines_of_ascii_do_not_make_a_file_of_mixed_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text;label\nZürich;a\nBern;b\n".encode("cp1252"))
    with Documents(100) as documents:
        *_, report = documents.read(path)
    assert report == Encoding({"latin-1": 3})


@pytest.mark.parametrize(
    "text",
    [
        "Er sagte „Wildunfall“ und fährt müde weiter.",
        "Das „ist“ schön, und ‚das‘ auch – sagt „Müller",
        "Mon cœur de métier est l’œuvre d’art, dit ma sœur. ŒUVRES, œil, œdème, fœtus, œcuménique",
        "Freundlichen Gruß…",
        "„Gruß“ an »Größe«, À LA CARTÉ\u00a0»",
        "‹ Grüße ›, ‹Gruß› für Škoda™ zu 5 ‰ († 2010): 2 × 3 m",
    ],
)
def test_quotes_and_letters_that_only_windows_1252_has_do_not_cost_the_umlauts_of_their_line(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode("cp1252"))
    found, (encoding,) = text_of(tmp_path / "a.txt")
    assert found == text and encoding == Encoding({"latin-1": 1})


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Er fährt ähnlich höflich.", "cp850"),
        ("Les élèves ont été là, maîtres dîner.", "cp850"),
        ("Für die Tür.", "mac-roman"),
        ("kościół, wcześniej, iść do domu, ośrodek", "cp1250"),
        ("Пришлите выписку: чек", "cp1251"),
    ],
)
def test_letters_of_other_encodings_are_still_not_read_as_those_of_windows_1252(
    tmp_path: Path, text: str, codec: str
) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode(codec))
    _, (encoding,) = text_of(tmp_path / "a.txt")
    assert encoding.bad_bytes


def test_what_a_sharp_s_and_a_sign_look_like_is_read_where_it_is_meant(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("ߒߞߏ is N'Ko, and so is ߓ.".encode())
    assert text_of(tmp_path / "a.txt") == ("ߒߞߏ is N'Ko, and so is ߓ.", [Encoding({"utf-8": 1})])
