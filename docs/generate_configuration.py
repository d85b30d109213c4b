"""Writes docs/configuration.md from the settings: `python docs/generate_configuration.py`. A test compares the two."""

import ast
from pathlib import Path

from concertino import config

PAGE = Path(__file__).with_name("configuration.md")
_ORDER = (
    "Settings",
    "GatewaySettings",
    "BackendSettings",
    "RouterSettings",
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


def page() -> str:
    """The whole page."""
    classes = {
        node.name: node
        for node in ast.parse(Path(config.__file__).read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    return "\n".join([_OPENING, *(_section(classes[name]) for name in _ORDER)])


def _section(node: ast.ClassDef) -> str:
    title = "The file" if node.name == "Settings" else node.name
    rows = ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
    for place, item in enumerate(node.body):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        after = node.body[place + 1] if place + 1 < len(node.body) else None
        meaning = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            meaning = " ".join(str(after.value.value).split())
        default = "(required)" if item.value is None else f"`{_default(item.value)}`"
        kind = ast.unparse(item.annotation).replace("|", "\\|")
        rows.append(f"| `{item.target.id}` | `{kind}` | {default} | {meaning} |")
    about = " ".join((ast.get_docstring(node) or "").split())
    return f"## {title}\n\n{about}\n\n" + "\n".join(rows) + "\n"


def _default(value: ast.expr) -> str:
    written = ast.unparse(value)
    return {"field(default_factory=dict)": "{}", "()": "[]"}.get(written, written)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
