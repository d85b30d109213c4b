"""How a request would be carried out, as `/v1/plan` and `concertino plan` show it."""

from typing import Any

import msgspec

from concertino.config import Settings
from concertino.types import Decision, Request, SubTask


def plan_object(decision: Decision, request: Request, settings: Settings) -> dict[str, Any]:
    """The parts, who plans and answers them, and within which limits. A request for one specialist has one part."""
    plan, workflow = decision.plan, settings.workflow
    alone = SubTask(1, request.messages[-1].text, decision.specialist, (), decision.confidence, decision.reason)
    return {
        "compound": plan is not None,
        "planned_by": plan.planned_by.value if plan else None,
        "tasks": msgspec.to_builtins(plan.tasks if plan else (alone,)),
        "left_out": plan.left_out if plan else 0,
        "answer": workflow.answer,
        "limits": {
            "parts": workflow.max_parts,
            "concurrency": workflow.concurrency,
            "deadline_s": workflow.deadline_s,
            "max_tokens": workflow.max_tokens,
        },
        "decision": msgspec.to_builtins(decision),
    }
