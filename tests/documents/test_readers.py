"""Files of seven formats become records that say where they are from."""

import io
import zipfile
from pathlib import Path

import pytest

from concertino.documents import Documents, Encoding, Problem, Record, find_files
from concertino.errors import DataRefused


def read(path: Path, longest: int = 500) -> tuple[list[Record], list[Problem]]:
    with Documents(longest) as documents:
        events = list(documents.read(path))
    records = [event for event in events if isinstance(event, Record)]
    return records, [event for event in events if isinstance(event, Problem)]


def pdf(*pages: str) -> bytes:
    """A small PDF with one line of text a page, written by hand so that no library is both writer and reader."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(count))
    bodies = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
        resources = "/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 612 792]"
        bodies.append(f"<< /Type /Page /Parent 2 0 R {resources} /Contents {5 + 2 * n} 0 R >>")
        bodies.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, io.SEEK_END)
    offsets = []
    for number, body in enumerate(bodies, 1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n{body}\nendobj\n".encode())
    start = out.tell()
    out.write(f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n".encode())
    out.write("".join(f"{offset:010} 00000 n \n" for offset in offsets).encode())
    out.write(f"trailer << /Size {len(bodies) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF".encode())
    return out.getvalue()


def test_json_lines_keep_line_separators_inside_of_strings(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\u2028still one"}\n\n{"text": "two"}\n', "utf-8")
    records, problems = read(path)
    assert [(record.place, record.fields["text"]) for record in records] == [("1", "one\u2028still one"), ("3", "two")]
    assert not problems


def test_a_bad_json_line_is_reported_and_the_next_one_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"\n["text"]\n{"text": "three"}\n')
    records, problems = read(path)
    assert [record.place for record in records] == ["3"]
    assert {problem.reason for problem in problems} == {"not a JSON object"}
    assert [problem.place for problem in problems] == ["1", "2"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_has_a_header_quotes_and_any_usual_delimiter(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'text{delimiter}label\n"a{delimiter} ""b""\nc"{delimiter}x\nlonely\nd{delimiter}y\n')
    records, problems = read(path)
    assert [record.fields for record in records] == [
        {"text": f'a{delimiter} "b"\nc', "label": "x"},
        {"text": "d", "label": "y"},
    ]
    assert [record.place for record in records] == ["2", "5"]
    assert [(problem.reason, problem.place) for problem in problems] == [("wrong number of fields", "4")]


def test_csv_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,text\na,b\n")
    records, problems = read(path)
    assert not records
    assert problems[0].reason == "header not usable"


def test_text_is_cut_between_paragraphs_into_passages_no_longer_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("First.\n\nSecond, a little longer.\n\n" + "A sentence of a long paragraph. " * 5)
    records, _ = read(path, longest=60)
    texts = [record.fields["text"] for record in records]
    assert texts[0] == "First.\n\nSecond, a little longer."
    assert all(len(text) <= 60 for text in texts)
    assert " ".join(texts[1:]) == ("A sentence of a long paragraph. " * 5).strip()
    assert [record.place for record in records] == [str(n) for n in range(1, len(records) + 1)]


def test_a_heading_stays_with_a_paragraph_that_is_longer_than_a_passage(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Visit\n\n" + "A sentence of a long paragraph. " * 9)
    records, _ = read(path, longest=100)
    texts = [record.fields["text"] for record in records]
    assert texts[0] == "# Visit\n\nA sentence of a long paragraph. A sentence of a long paragraph."
    assert all(len(text) <= 100 for text in texts)
    assert " ".join(texts) == "# Visit\n\n" + ("A sentence of a long paragraph. " * 9).strip()


def test_a_markdown_heading_begins_a_paragraph(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# One\ntext\n## Two\ntext\n")
    records, _ = read(path, longest=15)
    assert [record.fields["text"] for record in records] == ["# One\ntext", "## Two\ntext"]


def test_html_gives_its_text_without_scripts(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        "<html><head><title>Terms</title><script>evil()</script></head><body>"
        "<p>The parties agree to the following.</p><p>Fees are due in thirty days.</p></body></html>"
    )
    records, problems = read(path)
    text = "\n".join(record.fields["text"] for record in records)
    assert "The parties agree" in text
    assert "thirty days" in text
    assert "evil" not in text
    assert not problems


def test_a_letter_in_the_frame_of_a_mail_program_has_no_bars_of_a_table_around_it(tmp_path: Path) -> None:
    pytest.importorskip("trafilatura")
    letter = "Dear insurer, my car was damaged in Cologne last week, and I ask you to look at the case."
    table = "<table><tr><td>Policy</td><td>7</td></tr><tr><td>Name</td><td>Miller</td></tr></table>"
    frame = f"<table><tr><td><p>{letter}</p></td></tr></table>"
    (tmp_path / "a.html").write_text(f"<html><body>{frame}{table}</body></html>", "utf-8")
    texts = read(tmp_path / "a.html")[0][0].fields["text"].split("\n\n")
    assert texts[0] == letter
    assert "| Policy | 7 |" in texts


def test_pdf_gives_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf("The parties agree.", "Fees are due."))
    records, problems = read(path)
    assert [record.fields["text"] for record in records] == ["The parties agree.\n\nFees are due."]
    assert records[0].fields["start"] == "page 1"
    assert not problems


def test_docx_gives_paragraphs_and_tables_in_order(tmp_path: Path) -> None:
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_paragraph("Before.")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    document.add_paragraph("After.")
    document.save(tmp_path / "a.docx")
    records, problems = read(tmp_path / "a.docx")
    assert [record.fields["text"] for record in records] == ["Before.\n\nleft | right\n\nAfter."]
    assert not problems


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt", "md", "html", "pdf", "docx"])
def test_an_empty_file_is_reported(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"")
    assert read(path) == ([], [Problem("empty file", "the file has no bytes")])


@pytest.mark.parametrize(
    ("suffix", "content"),
    [("pdf", b"%PDF-1.4 but not really"), ("docx", b"PK\x03\x04 not really"), ("html", b"\x00\xff<<<>&#xffffffff;")],
)
def test_a_damaged_document_is_a_problem_and_not_a_crash(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    _, problems = read(path)
    assert len(problems) <= 1
    assert suffix == "html" or problems[0].reason == "damaged"


def test_a_word_document_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("word/document.xml", b"<w/>" + b" " * 300_000_000)
    _, problems = read(path)
    assert [problem.reason for problem in problems] == ["archive bomb"]


def test_encodings_are_told_apart_line_by_line_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ('{"text": "Zürich"}'.encode(), '{"text": "Genève"}'.encode("latin-1"), b'{"text": "bad \xff\x81 bytes"}')
    path.write_bytes(b"\n".join(lines))
    with Documents(100) as documents:
        *events, report = documents.read(path)
    assert [event.fields["text"] for event in events if isinstance(event, Record)] == [
        "Zürich",
        "Genève",
        "bad \ufffd\ufffd bytes",
    ]
    assert report == Encoding({"utf-8": 2, "latin-1": 1}, bad_bytes=2)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_utf_16_and_byte_order_marks_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\nGenève\u2028x,a\nZürich,b\n", encoding)
    records, problems = read(path)
    assert [record.fields for record in records] == [
        {"text": "Genève\u2028x", "label": "a"},
        {"text": "Zürich", "label": "b"},
    ]
    assert not problems


def test_a_folder_gives_its_readable_files_in_order_and_a_path_out_of_it_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "in").mkdir(parents=True)
    for name in ("in/b.txt", "in/a.md", "in/picture.png", "in/C.TXT"):
        (data / name).write_text("x")
    (tmp_path / "secret.txt").write_text("x")
    assert [path.name for path in find_files(data, "in")] == ["C.TXT", "a.md", "b.txt"]
    assert [path.name for path in find_files(data, "in/*.txt")] == ["b.txt"]
    for pattern in ("../secret.txt", "in/none.txt", "in/picture.png"):
        with pytest.raises(DataRefused):
            find_files(data, pattern)
    (data / "link.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(DataRefused, match="out of the data folder"):
        find_files(data, "link.txt")
