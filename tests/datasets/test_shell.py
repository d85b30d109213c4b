"""Two commands that do the same thing to other files have one template; two that differ in what they do have not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concertino.datasets.shell import command_template, same_command


@pytest.mark.parametrize(
    ("command", "template"),
    [
        ("find . -type f -name '*.py' | wc -l", "find -name Regex -type f File | wc -l"),
        ("rm -rf /tmp/old", "rm -f -r File"),
        ("chmod -R 755 public", "chmod -R Permission File"),
        ("head -n 20 notes.txt", "head -n Number File"),
        ("sort file | uniq -c | sort -nr | head -10", "sort File | uniq -c | sort -n -r | head -Number"),
        ("find /var -size +10M -mtime -7", "find -mtime Timespan -size Size File"),
        ("find . -name a -exec rm {} \\;", "find -exec rm {} ; -name Regex File"),
        ("ls -la > out.txt 2>&1", "ls -a -l > File 2>&1"),
        ("grep -e one -e two file", "grep -e Regex -e Regex File"),
        ("sudo -u bob tar -xz /b.tgz", "sudo -u Name tar -x -z File"),
        ("find . -print0 | xargs -0 rm -f", "find -print0 File | xargs -0 rm -f"),
        ("diff <(ls a) <(ls b)", "diff <( ls File ) <( ls File )"),
        ("echo $(date +%s)", "echo $( date File )"),
        ("X=1 make all", "X=Value make File"),
        ("", ""),
    ],
)
def test_arguments_become_kinds_and_flags_stay(command: str, template: str) -> None:
    assert command_template(command) == template


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("find . -type f -name '*.py'", 'find /src -name "*.txt" -type f'),
        ("rm -r -f a", "rm -rf b"),
        ("grep -i 'x y' f", "grep -i z* g"),
        ("/usr/bin/sort f", "sort g"),
    ],
)
def test_names_quotes_and_the_order_of_flags_do_not_count(one: str, other: str) -> None:
    assert same_command(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("find . -type f", "find . -type d"),
        ("find . -name a", "find . ! -name a"),
        ("find . -name a -o -name b", "find . -name a -name b"),
        ("rm -r a", "rm a"),
        ("a && b", "a || b"),
        ("cat f > g", "cat f >> g"),
        ("sort f | uniq", "uniq f | sort"),
        ("ls", "echo 'ls"),
    ],
)
def test_what_a_command_does_counts(one: str, other: str) -> None:
    assert not same_command(one, other)


@given(st.one_of(st.text(), st.text(alphabet="ab -|&;<>(){}$`'\"\\\n=.*0")))
def test_any_text_has_a_template(command: str) -> None:
    assert command_template(command) == command_template(command)
    assert same_command(command, command)
