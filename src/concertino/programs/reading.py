"""The program in what a model wrote."""

import re

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = {"", "python", "python3", "py"}
_BEGINS = re.compile(r"^(?:def|class|import|from|async def)\s+\w|^@\w", re.MULTILINE)
_DEFINES = re.compile(r"^(?:def|class|async def)\s+\w", re.MULTILINE)


def read_program(text: str) -> str | None:
    """The first code block that defines something, else the first one; without blocks, from the first line of code on.

    A block that was cut off before its end counts. None where there is no program.
    """
    blocks = [found[3] for found in _FENCE.finditer(text) if found[2].lower() in _PYTHON]
    if blocks:
        chosen = next((block for block in blocks if _DEFINES.search(block)), blocks[0])
        return chosen.strip("\n") if chosen.strip() else None
    begins = _BEGINS.search(text)
    return text[begins.start() :].rstrip() if begins else None
