"""The manual says what the code says."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from concertino.cli.verbs import VERBS, load

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted([*DOCS.glob("*.md"), DOCS.parent / "README.md"])


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_configuration", DOCS / "generate_configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_page_is_generated_from_the_settings() -> None:
    page = generator().page()
    assert (DOCS / "configuration.md").read_text("utf-8") == page, "run python docs/generate_configuration.py"


def test_every_setting_and_every_key_of_a_recipe_has_a_meaning() -> None:
    pages = generator().page() + generator().factory_page().split("## Recipe reference")[1]
    assert not [row for row in pages.splitlines() if row.endswith("|  |")]


def test_the_recipe_reference_is_generated_from_the_recipe() -> None:
    page = generator().factory_page()
    assert (DOCS / "factory.md").read_text("utf-8") == page, "run python docs/generate_configuration.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, section in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text("utf-8")):
        other = page.parent / target if target else page
        assert other.exists(), f"{page.name} links to {target}"
        assert not section or section in anchors(other), f"{page.name} links to {other.name}#{section}"


def anchors(page: Path) -> set[str]:
    """What a page's headings are linked by, as GitHub makes it of their words."""
    prose = re.sub(r"(?ms)^```.*?^```", "", page.read_text("utf-8"))
    titles = re.findall(r"(?m)^#+ (.*)", prose)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_a_page_exist_with_their_options(page: Path) -> None:
    for written in commands(page):
        verb, *words = shlex.split(written, comments=True)
        assert verb in VERBS, f"{page.name}: concertino {written}"
        command, known = load(verb), {"--help", "-h", "--config", "-c"}
        if verb == "bench":
            programs = {path.stem for path in (DOCS.parent / "bench").glob("*.py")}
            assert not words or words[0].replace("-", "_") in programs | {"NAME"}, f"{page.name}: concertino {written}"
            continue
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, f"{page.name}: concertino {written}"


def commands(page: Path) -> Iterator[str]:
    """What stands after `concertino` on lines of programs and in code within sentences, up to a pipe."""
    text = re.sub(r"\\\n\s*", " ", page.read_text("utf-8"))
    fenced = re.findall(r"(?ms)^```\w*\n(.*?)^```", text)
    lines = [line for block in fenced for line in block.splitlines()]
    prose = re.sub(r"(?ms)^```.*?^```", "", text).replace("\n", " ")
    for line in [*lines, *re.findall(r"`([^`]+)`", prose)]:
        if found := re.match(r"(?:\$ |echo .*\| )?(?:\S*/)?concertino ([a-z-]+(?: [^|>]*)?)", line):
            yield found[1].replace("[", "").replace("]", "")


def test_the_page_of_the_architecture_names_every_file_and_folder_of_the_package() -> None:
    page = (DOCS / "architecture.md").read_text("utf-8")
    package = DOCS.parent / "src" / "concertino"
    found = {path.name for path in package.iterdir() if path.suffix == ".py" and not path.name.startswith("__")}
    found |= {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    assert not {name for name in found if not re.search(rf"(?<![\w/]){re.escape(name)}", page)}


def test_ci_runs_the_test_command_of_the_readme_word_for_word() -> None:
    root = DOCS.parent
    section = (root / "README.md").read_text("utf-8").split("## Test\n")[1]
    command = section.split("```bash\n")[1].split("\n```")[0]
    assert command in (root / ".ci" / "run").read_text("utf-8").splitlines()
