"""`concertino ingest`: files -> the passages that a specialist quotes."""

import asyncio
import contextlib
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import structs

from concertino import config
from concertino.cli import output
from concertino.cli.session import ConfigOption, JsonOption
from concertino.config import Settings
from concertino.documents import Documents, Problem, Record, suffixes
from concertino.errors import DataRefused, UnknownModel
from concertino.knowledge.index import index_path
from concertino.knowledge.ingest import Embed, SourceFile
from concertino.knowledge.ingest import ingest as write
from concertino.knowledge.passages import PASSAGE_CHARACTERS, Passage, cut, overlapping, title_of

_BY_LINE = frozenset({"txt", "md", "jsonl", "csv"})


def ingest(
    specialist: Annotated[str, typer.Argument(metavar="SPECIALIST", help="Whose answers shall quote the files.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Files, or folders of files.")],
    text: Annotated[
        str, typer.Option("--text", metavar="FIELD", help="Of jsonl and csv: the field that is quoted.")
    ] = "text",
    title: Annotated[
        str | None, typer.Option("--title", metavar="FIELD", help="Of jsonl and csv: the field that says what about.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="FIELD", help="Of jsonl and csv: the field that is cited.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Forget all that was ingested before.")] = False,
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Cut files into passages and index them, so that a specialist answers from them and cites them.

    Reads txt, md, html, pdf, docx, csv and jsonl. A file that was ingested before is replaced; its passages that did
    not change are not embedded again. A gateway that runs uses the new index from its next question on.

    \b
    Examples:
      concertino ingest medical medquad.jsonl --text answer --title text --source url
      concertino ingest legal handbook.pdf policies/
    """
    settings = config.load(config_path)
    card = settings.card(specialist)
    if card is None:
        known = ", ".join(card.name for card in settings.specialists)
        raise UnknownModel(f"No specialist {specialist[:80]!r} here. There is: {known}.", param="specialist")
    problems: Counter[str] = Counter()
    with Documents(PASSAGE_CHARACTERS) as documents:
        read = [_read(documents, path, text, title, source, problems) for path in _listed(files)]
    for reason, count in problems.most_common():
        output.say(f"{count} x not read: {reason}")
    if not any(file.passages for file in read):
        why = "; ".join(f"{reason} ({count})" for reason, count in problems.most_common(5)) or "they hold no text"
        raise DataRefused(f"Nothing to ingest in {len(read)} file(s): {why}. Give files that hold text.")
    with _embedder(settings) as (embed, model), _bar() as progress:
        done = write(index_path(settings.home_path, specialist), read, embed, model, replace=replace, progress=progress)
    if card.knowledge == "off":
        output.say(f"specialists.{specialist}.knowledge is off, so its answers will not use this.")
    if as_json:
        output.print_json({"specialist": specialist, **msgspec.to_builtins(done), "not_read": dict(problems)})
        return
    output.print_text(
        f"{done.index}: {done.passages} passages of {done.files} file(s); {done.added} added, "
        f"{done.unchanged} unchanged, {done.removed} removed, {done.repeated} repeated in their file"
    )


def _listed(given: Sequence[Path]) -> list[Path]:
    """The files, and in folders those that can be read. Raises DataRefused for what is not there or of no such kind."""
    known = suffixes()
    found: list[Path] = []
    for path in given:
        if not path.exists():
            raise DataRefused(f"There is no file {str(path)!r}. Check the path.", param="files")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        kept = [item for item in inside if item.is_file() and item.suffix[1:].lower() in known]
        if not kept:
            raise DataRefused(f"{path} is of no kind that can be read ({', '.join(known)}).", param="files")
        found += kept
    return list(dict.fromkeys(item.resolve() for item in found))


def _read(
    documents: Documents, path: Path, text: str, title: str | None, source: str | None, problems: Counter[str]
) -> SourceFile:
    """One file as passages. What cannot be read is counted."""
    records: list[Record] = []
    for event in documents.read(path):
        if isinstance(event, Record):
            records.append(event)
        elif isinstance(event, Problem):
            problems[f"{event.reason} ({path.name})"] += 1
    if documents.is_document(path):
        passages = _of_document(path, records)
    else:
        passages = _of_rows(path, records, text, title, source, problems)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SourceFile(str(path), digest, tuple(passages))


def _of_document(path: Path, records: Sequence[Record]) -> list[Passage]:
    pieces = [(_place(path, str(record.fields["start"])), str(record.fields["text"])) for record in records]
    title = title_of(pieces[0][1], path.stem) if pieces else ""
    return [Passage(title, text, path.name, place) for place, text in overlapping(pieces)]


def _of_rows(
    path: Path, records: Sequence[Record], text: str, title: str | None, source: str | None, problems: Counter[str]
) -> list[Passage]:
    """Passages of each row. Raises DataRefused where no row has the field."""
    if records and not any(text in record.fields for record in records):
        fields = ", ".join(map(str, records[0].fields))
        raise DataRefused(f"{path.name} has no field {text!r}. It has: {fields}. Name one with --text.", param="text")
    for option, field in (("--title", title), ("--source", source)):
        if field and records and not any(field in record.fields for record in records):
            fields = ", ".join(map(str, records[0].fields))
            raise DataRefused(f"{path.name} has no field {field!r}. It has: {fields}. Correct {option}.", param=option)
    found: list[Passage] = []
    for record in records:
        said = record.fields.get(text)
        if not isinstance(said, str) or not said.strip():
            problems[f"no text in {text!r} ({path.name})"] += 1
            continue
        about = str(record.fields.get(title) or "") if title else ""
        place = _place(path, record.place)
        cites = str(record.fields.get(source) or "") if source else ""
        where = (cites, f"{path.name} {place}") if cites else (path.name, place)
        found += cut(said, about, *where)
    return found


def _place(path: Path, place: str) -> str:
    if not place.isdigit():
        return place
    return f"line {place}" if path.suffix[1:].lower() in _BY_LINE else f"paragraph {place}"


@contextlib.contextmanager
def _embedder(settings: Settings) -> Iterator[tuple[Embed | None, str]]:
    """Vectors by the team's first embedding model, its backend started alone; None where the team has none."""
    if not settings.embeddings:
        output.say("The team has no embedding model, so the index is searched by words alone.")
        yield None, ""
        return
    from concertino.models.store import Store
    from concertino.orchestrator.compose import ModelFiles
    from concertino.specialists.pool import Pool

    card = settings.embeddings[0]
    files = ModelFiles(Store(settings.home_path))
    alone = structs.replace(settings, specialists=(), embeddings=(card,))
    backend = Pool(alone, files.open, lambda _: "", files.file).backends[card.backend]
    with asyncio.Runner() as runner:
        try:
            with output.Spinner(f"Loading {card.model}"):
                runner.run(backend.start())
            yield lambda texts: runner.run(backend.embed(card.model, texts)).vectors, card.model
        finally:
            runner.run(backend.close())
            files.release()


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of passages on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
