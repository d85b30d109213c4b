"""Text as it is compared: case-folded NFKC words, without punctuation; a script that is written without blanks counts
each character as a word.
"""

import re
import unicodedata
from hashlib import blake2b

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_ASCII_WORD = re.compile(r"[a-z0-9]+")


def words(text: str) -> list[str]:
    """The words by which texts are compared."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def comparable(text: str) -> str:
    """The text as it is compared: its words; the text itself, without its blanks, where it has none."""
    return " ".join(words(text)) or "".join(text.split())


def key(text: str) -> int:
    """64 bits of a hash. Two texts of a hundred million share one by chance with a probability of 1 in 3,700."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
