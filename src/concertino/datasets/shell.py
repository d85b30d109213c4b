"""Shell commands with their arguments replaced by kinds, so that two that do the same thing compare equal.

After NL2Bash (Lin et al. 2018, arXiv:1802.08979, section 5): utilities, flags, operators and the shape of a command
stay; file names, numbers, patterns and the like become their kind. The order of the flags of a utility does not count.
"""

import re
from collections.abc import Iterator

from msgspec import Struct

_OPERATOR = re.compile(
    r"(?:\d*|&)(?:<<<|<<-?|>>|>\||>&\d*-?|<&\d*-?|<>|&>>|&>)|\d+(?=[<>])[<>]|\|&|\|\||&&|;;|[|;&()<>]|\n"
)
_SEPARATORS = {"|", "|&", "||", "&&", ";", ";;", "&", "(", ")", "\n", "{", "}", "$(", "<(", ">(", "`"}
_KEYWORDS = {
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "select",
    "function", "time", "!", "[[", "]]",
}  # fmt: skip
_PREFIXES = {
    "sudo",
    "env",
    "nohup",
    "time",
    "nice",
    "exec",
    "command",
    "xargs",
    "!",
    "then",
    "do",
    "else",
    "if",
    "while",
}
_RUNS = {"-exec", "-execdir", "-ok", "-okdir"}
"""Flags of find whose argument is a command up to `;` or `+`."""

_KINDS = (
    ("Permission", re.compile(r"[0-7]{3,4}|[-/+]?[ugoa]*[-+=][rwxXst]+(?:,[ugoa]*[-+=][rwxXst]+)*|[-/]0?[0-7]{3,4}")),
    ("Number", re.compile(r"[-+]?\d+(?:\.\d+)?%?")),
    ("Size", re.compile(r"[-+]?\d+(?:\.\d+)?(?:[cwbkKMGTP]|[kKMGT]i?[bB])")),
    ("Timespan", re.compile(r"[-+]?\d+(?:\.\d+)?(?:s|sec|min|m|h|d|days?|hours?|minutes?|weeks?)")),
    ("DateTime", re.compile(r"\d{4}-\d\d-\d\d(?:[T ].*)?|\d{1,2}:\d\d(?::\d\d)?")),
    ("Url", re.compile(r"[a-z][a-z0-9+.-]*://\S+|[\w.-]+@[\w.-]+(?::\S*)?")),
)
_VALUE_FLAGS = {
    "-name": "Regex", "-iname": "Regex", "-path": "Regex", "-ipath": "Regex", "-wholename": "Regex", "-regex": "Regex",
    "-iregex": "Regex", "-perm": "Permission", "-size": "Size", "-mtime": "Timespan", "-mmin": "Timespan",
    "-atime": "Timespan", "-amin": "Timespan", "-ctime": "Timespan", "-cmin": "Timespan", "-newer": "File",
    "-user": "Name", "-group": "Name", "-maxdepth": "Number", "-mindepth": "Number", "-type": "",
    "-printf": "Regex", "-regextype": "", "-inum": "Number", "-links": "Number", "-uid": "Number", "-gid": "Number",
}  # fmt: skip
"""Flags of find (and what they take); an empty kind keeps the value, because it decides what the command does."""

_PATTERN_FIRST = {"grep", "egrep", "fgrep", "zgrep", "sed", "awk", "gawk", "rg", "perl", "tr"}
"""Utilities whose first plain argument is a pattern or a program."""

_TAKES = {
    "sudo": {"-u": "Name", "-g": "Name"},
    "xargs": {"-n": "Number", "-I": "", "-P": "Number", "-L": "Number", "-d": "Regex", "-s": "Number"},
    "nice": {"-n": "Number"},
    "head": {"-n": "Number", "-c": "Number"},
    "tail": {"-n": "Number", "-c": "Number"},
    "grep": {"-e": "Regex", "-m": "Number", "-A": "Number", "-B": "Number", "-C": "Number", "-f": "File"},
    "sed": {"-e": "Regex", "-f": "File"},
    "awk": {"-F": "Regex", "-v": "Value"},
    "cut": {"-d": "Regex", "-f": "Number", "-c": "Number"},
    "sort": {"-k": "Number", "-t": "Regex"},
}
"""Flags of other utilities that take the next word."""

_NUMBERED = {"head", "tail", "seq", "sleep", "kill", "split"}


class Word(Struct, frozen=True):
    """A piece of a command: its text without quotes, whether any of it was quoted, and whether it is an operator."""

    text: str
    quoted: bool = False
    operator: bool = False


def command_template(command: str) -> str:
    """The template of a shell command. Never fails: what cannot be read is compared by its words.

    `find . -type f -name "*.py" | wc -l` -> `find File -name Regex -type f | wc -l`.
    """
    try:
        words = list(_words(command))
    except ValueError:
        return " ".join(command.split())
    return " ".join(piece for piece in _templates(words) if piece)


def same_command(one: str, other: str) -> bool:
    """Whether two commands have one template."""
    return command_template(one) == command_template(other)


def _words(command: str) -> Iterator[Word]:
    """The words and operators of a command. Raises ValueError for an open quote or bracket."""
    place, end = 0, len(command)
    while place < end:
        if command[place] in " \t\r":
            place += 1
        elif command[place] == "#" and (place == 0 or command[place - 1] in " \t\n;"):
            place = _up_to(command, "\n", place)
        elif command.startswith(("<(", ">("), place):
            yield Word(command[place : place + 2], operator=True)
            place += 2
        elif found := _OPERATOR.match(command, place):
            yield Word(re.sub(r"\s", ";", found.group()), operator=True)
            place = found.end()
        else:
            word, place = _word(command, place)
            yield word


def _word(command: str, place: int) -> tuple[Word, int]:
    text, quoted, end = "", False, len(command)
    while place < end and command[place] not in " \t\r\n|;&<>()":
        sign = command[place]
        if sign == "\\":
            text += command[place + 1 : place + 2].strip("\n")
            quoted = quoted or command[place + 1 : place + 2] not in (";", "")
            place += 2
        elif sign == "'":
            stop = command.index("'", place + 1)
            text, quoted, place = text + command[place + 1 : stop], True, stop + 1
        elif sign == '"':
            stop = _closing_quote(command, place + 1)
            text, quoted, place = text + command[place + 1 : stop], True, stop + 1
        elif sign == "`":
            stop = command.index("`", place + 1)
            text, place = text + command[place : stop + 1], stop + 1
        elif command.startswith(("$(", "${"), place):
            stop = _closing(command, place + 1)
            text, place = text + command[place : stop + 1], stop + 1
        else:
            text, place = text + sign, place + 1
    return Word(text, quoted), min(place, end)


def _closing_quote(command: str, place: int) -> int:
    while command[place : place + 1] not in ('"', ""):
        place += 2 if command[place] == "\\" else 1
    if place >= len(command):
        raise ValueError("open quote")
    return place


def _closing(command: str, place: int) -> int:
    opening = command[place]
    closing, depth = {"(": ")", "{": "}"}[opening], 0
    for at in range(place, len(command)):
        depth += (command[at] == opening) - (command[at] == closing)
        if depth == 0:
            return at
    raise ValueError("open bracket")


def _up_to(command: str, sign: str, place: int) -> int:
    found = command.find(sign, place)
    return len(command) if found < 0 else found


def _templates(words: list[Word]) -> Iterator[str]:
    """The templates of the simple commands in order, with the operators between them."""
    simple: list[Word] = []
    redirect = False
    for word in words:
        if redirect and not word.operator:
            redirect = False
            yield _kind(word)
        elif word.operator and word.text in _SEPARATORS:
            yield from _simple(simple)
            simple = []
            yield word.text
        elif word.operator:
            yield from _simple(simple)
            simple = []
            yield word.text
            redirect = "&" not in word.text.lstrip("&")
        else:
            simple.append(word)
    yield from _simple(simple)


def _simple(words: list[Word]) -> Iterator[str]:
    """One utility with its flags in order of name and its arguments as kinds."""
    while words and not words[0].quoted and (words[0].text in _KEYWORDS or _assignment(words[0].text)):
        yield words[0].text if words[0].text in _KEYWORDS else f"{words[0].text.split('=')[0]}=Value"
        words = words[1:]
    if not words:
        return
    utility = words[0].text.rsplit("/", 1)[-1] if not words[0].text.startswith(("$", "`")) else _kind(words[0])
    yield utility
    flags, plain, rest = _arguments(utility, words[1:])
    yield from sorted(flags)
    yield from plain
    if rest:
        yield from _simple(rest)


def _arguments(utility: str, words: list[Word]) -> tuple[list[str], list[str], list[Word]]:
    """Flags (with the values that are known to be theirs), plain arguments as kinds, and a command that is run."""
    flags: list[str] = []
    plain: list[str] = []
    place = 0
    while place < len(words):
        word = words[place]
        text = word.text
        place += 1
        if utility == "find" and text in _RUNS:
            inner = next((at for at in range(place, len(words)) if words[at].text in (";", "+")), len(words))
            ending = [words[inner].text] if inner < len(words) else []
            flags.append(" ".join([text, *_simple(words[place:inner]), *ending]))
            place = inner + 1
        elif utility == "find" and text in _VALUE_FLAGS and place < len(words):
            flags.append(f"{text} {_VALUE_FLAGS[text] or words[place].text}")
            place += 1
        elif text in _TAKES.get(utility, {}) and place < len(words):
            flags.append(f"{text} {_TAKES[utility][text] or words[place].text}")
            place += 1
        elif utility == "find" and text in ("!", "-not", "-o", "-or", "-a", "-and", "(", ")"):
            # Their place decides what they say, so flags before and after do not mix.
            plain += [*sorted(flags), {"-not": "!", "-or": "-o", "-and": "-a"}.get(text, text)]
            flags = []
        elif text.startswith("-") and len(text) > 1 and not word.quoted:
            flags += _flag(utility, text)
        elif utility in _PREFIXES and not plain:
            return flags, plain, words[place - 1 :]
        elif utility in _PATTERN_FIRST and not plain and not {"-e Regex", "-f File"} & set(flags):
            plain.append("Regex")
        else:
            plain.append(_kind(word))
    return flags, plain, []


def _flag(utility: str, text: str) -> Iterator[str]:
    if text.startswith("--"):
        name, equals, _ = text.partition("=")
        yield f"{name}=Value" if equals else name
    elif utility in _NUMBERED and text[1:].isdigit():
        yield "-Number"
    elif utility == "find":
        yield text
    elif text[1:].isalpha() and len(text) <= 5:
        yield from (f"-{letter}" for letter in text[1:])  # -rf is -r -f
    else:
        yield re.sub(r"(?<=[A-Za-z])[-+]?\d+.*|(?<=[=,:/.]).*", "Value", text)


def _kind(word: Word) -> str:
    text = word.text
    if text in ("{}", "-", "."):
        return "File" if text == "." else text
    if text.startswith(("$(", "`")):
        inner = text[2:-1] if text.startswith("$(") else text[1:-1]
        return f"$( {command_template(inner)} )"
    if re.fullmatch(r"\$\{?\w+.*|\$[@*#?$!]", text):
        return "Variable"
    for kind, pattern in _KINDS:
        if pattern.fullmatch(text):
            return kind
    if word.quoted and re.search(r"[\s*?\[\]^$|\\+(){}]", text):
        return "Regex"
    return "File"


def _assignment(text: str) -> bool:
    return re.match(r"[A-Za-z_]\w*\+?=", text) is not None
