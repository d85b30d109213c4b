"""Writes docs/configuration.md from the settings, and the reference in docs/factory.md from recipe.py.

`python docs/generate_configuration.py`. Tests compare both.
"""

import ast
from pathlib import Path

from concertino import recipe, settings

PAGE = Path(__file__).with_name("configuration.md")
_ORDER = (
    "Settings",
    "GatewaySettings",
    "BackendSettings",
    "RouterSettings",
    "LanguageTierSettings",
    "WorkflowSettings",
    "PolicySettings",
    "AuditSettings",
    "KeySettings",
    "EmbeddingCard",
    "SpecialistCard",
    "SkillCard",
    "Evaluation",
    "Price",
)
_OPENING = """\
# Configuration

This page is generated from the settings' declarations: `python docs/generate_configuration.py`.

`concertino.yaml` is looked for at `--config`, then at CONCERTINO_CONFIG, then in the current folder. Without one, or
for the sections that it leaves out, the built-in team and the defaults below hold. Unknown keys are refused, with the
nearest known one named. `concertino doctor` checks a file without starting anything.

A team of your own:

```yaml
backends:
  local: {type: llamacpp}
  big:   {type: http, options: {base_url: http://10.0.0.7:8000/v1, api_key_env: VLLM_KEY}}
specialists:
  - name: general
    description: Everyday questions.
    backend: local
    model: qwen2.5-coder-1.5b-instruct
  - name: contracts
    description: Contracts and what their clauses mean.
    domains: [legal]
    backend: big
    model: our-legal-70b
    compliance: [on_prem]
policy:
  tenants: {audit-team: [contracts]}
```
"""


FACTORY = PAGE.with_name("factory.md")
MARKER = "## Recipe reference\n"
_RECIPE_TITLES = {
    "Recipe": "The file",
    "Data": "`data`",
    "Source": "`data.sources`, each",
    "Split": "`data.split`",
    "Training": "`training`",
    "EvaluationPlan": "`evaluation`",
    "Promotion": "`promotion`",
}
_VALUES = ("Engine", "Method", "Metric", "PersonalData")
_RECIPE_OPENING = """
This part is generated from `src/concertino/recipe.py`: `python docs/generate_configuration.py`. Unknown keys are
refused, with the nearest known one named.
"""


def page() -> str:
    """The page of the configuration."""
    classes = _classes(settings.__file__)
    titles = {name: "The file" if name == "Settings" else name for name in _ORDER}
    return "\n".join([_OPENING, *(_section(classes[name], f"## {titles[name]}") for name in _ORDER)])


def factory_page() -> str:
    """The page of the factory: what a person wrote, then every key of a recipe."""
    classes = _classes(recipe.__file__)
    written = FACTORY.read_text("utf-8").split(MARKER)[0]
    keys = [_section(classes[name], f"### {title}") for name, title in _RECIPE_TITLES.items()]
    values = [_values(classes[name]) for name in _VALUES]
    return written + MARKER + "\n".join([_RECIPE_OPENING, *keys, *values])


def _classes(path: str | None) -> dict[str, ast.ClassDef]:
    assert path is not None
    tree = ast.parse(Path(path).read_text("utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _section(node: ast.ClassDef, title: str) -> str:
    rows = ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
    for place, item in enumerate(node.body):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        default = "(required)" if item.value is None else f"`{_default(item.value)}`"
        kind = ast.unparse(item.annotation).replace("|", "\\|")
        rows.append(f"| `{item.target.id}` | `{kind}` | {default} | {_said_after(node, place)} |")
    return f"{title}\n\n{_about(node)}\n\n" + "\n".join(rows) + "\n"


def _values(node: ast.ClassDef) -> str:
    """The members of an enumeration, as they are written in YAML."""
    rows = ["| value | meaning |", "| --- | --- |"]
    for place, item in enumerate(node.body):
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant):
            rows.append(f"| `{item.value.value}` | {_said_after(node, place)} |")
    return f"### {node.name}\n\n{_about(node)}\n\n".replace("\n\n\n", "\n") + "\n".join(rows) + "\n"


def _about(node: ast.ClassDef) -> str:
    return " ".join((ast.get_docstring(node) or "").split())


def _said_after(node: ast.ClassDef, place: int) -> str:
    """The string that stands below a declaration and says what it means."""
    after = node.body[place + 1] if place + 1 < len(node.body) else None
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
        return " ".join(str(after.value.value).split()).replace("|", "\\|")
    return ""


def _default(value: ast.expr) -> str:
    written = ast.unparse(value)
    plain = {"field(default_factory=dict)": "{}", "()": "[]"}.get(written, written)
    if isinstance(value, ast.Attribute):  # a member of an enumeration
        member = getattr(recipe, written.partition(".")[0], None)
        return str(getattr(member, value.attr)) if member else plain
    if isinstance(value, ast.Name):  # a constant
        return repr(getattr(recipe, value.id, None) or getattr(settings, value.id))
    return "{}" if isinstance(value, ast.Call) and not value.args and not value.keywords else plain


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    FACTORY.write_text(factory_page(), "utf-8")
