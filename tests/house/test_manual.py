"""The manual says what the code says."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


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


def test_the_recipe_reference_is_generated_from_the_recipe() -> None:
    page = generator().factory_page()
    assert (DOCS / "factory.md").read_text("utf-8") == page, "run python docs/generate_configuration.py"


@pytest.mark.parametrize("page", sorted([*DOCS.glob("*.md"), DOCS.parent / "README.md"]), ids=lambda page: page.name)
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


def test_ci_runs_the_test_command_of_the_readme_word_for_word() -> None:
    root = DOCS.parent
    section = (root / "README.md").read_text("utf-8").split("## Test\n")[1]
    command = section.split("```bash\n")[1].split("\n```")[0]
    assert command in (root / ".ci" / "run").read_text("utf-8").splitlines()
