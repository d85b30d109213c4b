"""Files that people have -> records with their provenance.

base.py       the protocol of a reader, and what it gives
readers/      one file a format, found through entry points
encoding.py   lines of a file in whatever encoding
passages.py   paragraphs -> passages
limited.py    complex formats in a process with limits (child.py)
read.py       a path, a folder or a pattern -> records
"""

from concertino.documents.base import Encoding, Event, Problem, Reader, Record
from concertino.documents.read import FOLDER, Documents, find_files, suffixes

__all__ = ["FOLDER", "Documents", "Encoding", "Event", "Problem", "Reader", "Record", "find_files", "suffixes"]
