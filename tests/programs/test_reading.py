"""A program is read out of what a model wrote around it."""

import pytest

from concertino.programs.reading import read_program

CODE = "def f(x):\n    return x"


@pytest.mark.parametrize(
    "text",
    [
        CODE,
        f"```python\n{CODE}\n```",
        f"Here it is:\n\n```python\n{CODE}\n```\nIt returns x. Use it so:\n```python\nprint(f(1))\n```",
        f"```\n{CODE}\n```",
        f"~~~py\n{CODE}\n~~~",
        f"```bash\npip install x\n```\n```python\n{CODE}\n```",
        f"```python\nf(1)\n```\nwhere\n```python\n{CODE}\n```",
        f"```python\n{CODE}",
        f"Sure! This is the function:\n{CODE}",
        f"  ```python\n{CODE}\n  ```",
    ],
)
def test_the_program_is_found(text: str) -> None:
    assert read_program(text) == CODE


@pytest.mark.parametrize("text", ["", "  \n", "I cannot do that.", "```python\n```", "```bash\nls\n```"])
def test_prose_is_no_program(text: str) -> None:
    assert read_program(text) is None


def test_a_decorated_or_asynchronous_function_and_imports_belong_to_it() -> None:
    for code in (
        "import math\n\n" + CODE,
        "@cache\n" + CODE,
        "async def f(x):\n    return x",
        "from a import b\n" + CODE,
    ):
        assert read_program("So:\n" + code) == code


def test_backticks_inside_a_line_end_no_block() -> None:
    assert read_program('```python\ndef f():\n    return "```"\n```') == 'def f():\n    return "```"'
