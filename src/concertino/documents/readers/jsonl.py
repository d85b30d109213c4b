"""JSON Lines: one object a line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from concertino.documents.base import Event, Problem, Record
from concertino.documents.encoding import LineReader

_LIST = "; a list of objects becomes a line for each by `jq -c '.[]'`"


class JsonlReader:
    paragraphs = False
    limited = False

    def read(self, path: Path) -> Iterator[Event]:
        lines = LineReader(path)
        decoder = msgspec.json.Decoder(dict[str, Any])
        for number, line in lines:
            yield from lines.drain()
            if not line or line.isspace():
                continue
            try:
                fields = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                because = f"{error}{_LIST if line.lstrip().startswith('[') else ''}"
                yield Problem("not a JSON object", because, str(number), line[:200])
                continue
            yield Record(str(number), fields)
        yield from lines.drain()
        yield lines.report
