"""CSV as people have it: quotes that never close, delimiters in quotes, line ends of old machines."""

from pathlib import Path

import pytest

from concertino.documents import Documents, Problem, Record


def read(path: Path, content: str | bytes) -> tuple[list[Record], list[Problem]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with Documents(500) as documents:
        events = list(documents.read(path))
    records = [event for event in events if isinstance(event, Record)]
    return records, [event for event in events if isinstance(event, Problem)]


def rows(count: int, delimiter: str = ",") -> str:
    return "".join(f"text number {n}{delimiter}cards\n" for n in range(count))


@pytest.mark.parametrize("after", ["", 'he said "so",cards\n', 'a "" b,cards\n', 'say "hello"\n'])
def test_a_quote_that_never_closes_costs_its_own_row_and_no_other(tmp_path: Path, after: str) -> None:
    content = f'text,label\n{rows(3)}"never closed,cards\n{rows(50)}{after}'
    records, problems = read(tmp_path / "a.csv", content)
    assert [record.place for record in records][:4] == ["2", "3", "4", "6"]
    whole = after.count(",")
    assert len(records) == 53 + whole
    assert (problems[0].place, problems[0].sample) == ("5", '"never closed,cards')
    assert len(problems) == 1 + bool(after) - whole


def test_a_bad_quote_in_a_row_of_several_lines_is_told_by_its_first_line(tmp_path: Path) -> None:
    content = 'text,label\n"one\ntwo",a\n"three\n four" pipe,a\nfive,b\n'
    records, problems = read(tmp_path / "a.csv", content)
    assert records[0].fields["text"] == "one\ntwo"
    assert records[-1].fields == {"text": "five", "label": "b"}
    assert problems[0].place == "4" and problems[0].reason == "not valid CSV"


def test_delimiters_in_quotes_are_not_counted(tmp_path: Path) -> None:
    records, problems = read(tmp_path / "a.csv", '"Reason, free text, or note";label\n"lost, and found";cards\n')
    assert not problems
    assert records[0].fields == {"Reason, free text, or note": "lost, and found", "label": "cards"}


def test_a_header_of_several_lines_is_one_header(tmp_path: Path) -> None:
    records, problems = read(tmp_path / "a.csv", '"Question\n(a, b, c)";label\nlost;cards\n')
    assert not problems
    assert (records[0].place, records[0].fields["label"]) == ("3", "cards")


@pytest.mark.parametrize("header", ['"text"x,label', '"text,label'])
def test_a_header_that_cannot_be_read_is_a_problem_that_says_what_to_do(tmp_path: Path, header: str) -> None:
    records, problems = read(tmp_path / "a.csv", f"{header}\nlost,cards\n")
    assert not records
    assert problems[0].reason == "header not usable" and "quotes" in problems[0].because


@pytest.mark.parametrize("mark", ["sep=;", '"sep=;"', "\ufeffsep=;"])
def test_the_first_line_of_excel_names_the_delimiter(tmp_path: Path, mark: str) -> None:
    records, problems = read(tmp_path / "a.csv", f"{mark}\na,b,c;label\n{rows(2, ';')}")
    assert not problems
    assert records[0].fields == {"a,b,c": "text number 0", "label": "cards"}
    assert records[0].place == "3"


def test_a_delimiter_at_the_end_of_every_line_is_no_column(tmp_path: Path) -> None:
    records, problems = read(tmp_path / "a.csv", "text;label;\nlost;cards;\nfound;cards;more\n")
    assert [record.fields for record in records] == [{"text": "lost", "label": "cards"}]
    assert [problem.reason for problem in problems] == ["wrong number of fields"]


def test_blank_lines_before_the_header_are_passed_over(tmp_path: Path) -> None:
    records, problems = read(tmp_path / "a.csv", f"\n \n{'text,label'}\n{rows(2)}")
    assert not problems and [record.place for record in records] == ["4", "5"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lines_may_end_as_on_old_macs(tmp_path: Path, encoding: str) -> None:
    content = ("text,label\n" + rows(40_000) + '"two\nlines",cards\n').replace("\n", "\r")
    records, problems = read(tmp_path / "a.csv", content.encode(encoding))
    assert not problems and len(records) == 40_001
    assert records[-1].fields["text"] == "two\nlines" and records[-1].place == "40002"


def test_text_files_may_end_their_lines_so_too(tmp_path: Path) -> None:
    records, _ = read(tmp_path / "a.txt", "First.\r\rSecond." + " It is long." * 45)
    assert records[0].fields["text"].startswith("First.\n\nSecond. It is long.")


def test_tsv_is_csv_with_tabs(tmp_path: Path) -> None:
    records, problems = read(tmp_path / "a.tsv", "a,b,c\tlabel\nlost, found\tcards\n")
    assert not problems and records[0].fields == {"a,b,c": "lost, found", "label": "cards"}
