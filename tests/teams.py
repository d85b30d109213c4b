"""Configurations that tests play with."""

from typing import Any

DOMAINS = ("general", "code", "legal", "finance", "medical")


def echo_team(**changes: Any) -> dict[str, Any]:
    """A configuration whose five specialists all echo."""
    specialists: list[dict[str, Any]] = [
        {
            "name": name,
            "description": f"Questions about {name}.",
            "backend": "echo",
            "model": "echo",
            "compliance": ["on_prem", "phi"] if name == "medical" else ["on_prem"],
        }
        for name in DOMAINS
    ]
    specialists[2]["skills"] = [
        {
            "name": "overruling",
            "description": "Whether a sentence overrules.",
            "instruction": "Answer yes or no.",
            "labels": ["yes", "no"],
        }
    ]
    raw: dict[str, Any] = {
        "backends": {"echo": {"type": "echo"}},
        "embeddings": [{"model": "echo-embedding", "backend": "echo"}],
        "specialists": specialists,
    }
    return raw | changes
