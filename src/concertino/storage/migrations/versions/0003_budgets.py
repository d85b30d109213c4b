"""Budgets of keys and tenants, what was spent of them, and what requests in flight may still spend."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _holder() -> list[sa.Column[str]]:
    return [
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("subject", sa.String(200), primary_key=True),
        sa.Column("period", sa.String(8), primary_key=True),
    ]


def _cost(nullable: bool) -> list[sa.Column[int]]:
    return [
        sa.Column("amount", sa.BigInteger, nullable=nullable),
        sa.Column("tokens", sa.BigInteger, nullable=nullable),
    ]


def upgrade() -> None:
    op.create_table("budgets", *_holder(), *_cost(nullable=True))
    starts = sa.Column("starts", sa.BigInteger, primary_key=True)
    op.create_table("spending", *_holder(), starts, *_cost(nullable=False))
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(64), primary_key=True),
        *_holder(),
        sa.Column("starts", sa.BigInteger, nullable=False),
        *_cost(nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
    )
