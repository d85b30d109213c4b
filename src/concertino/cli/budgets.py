"""Budgets as `concertino keys` sets and shows them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct, structs

from concertino.cli import output
from concertino.config import Settings
from concertino.orchestrator.budgets import money
from concertino.storage.budgets import BILLIONTHS, Budget, BudgetStore, Holder, Period, Standing

_TITLES = (
    "holder",
    "period",
    "amount",
    "spent",
    "reserved",
    "left",
    "tokens",
    "spent",
    "reserved",
    "left",
    "renews (UTC)",
)


class Wanted(Struct, frozen=True):
    """What was asked for; None leaves a budget as it is. Amounts are in the unit of the cards' prices."""

    amount_day: float | None
    amount_month: float | None
    tokens_day: int | None
    tokens_month: int | None

    @property
    def given(self) -> bool:
        return any(value is not None for value in structs.astuple(self))


def change(store: BudgetStore, holder: Holder, wanted: Wanted, settings: Settings) -> None:
    """Set what is wanted. A person hears when an amount can never be used up."""
    amounts = {Period.DAY: wanted.amount_day, Period.MONTH: wanted.amount_month}
    tokens = {Period.DAY: wanted.tokens_day, Period.MONTH: wanted.tokens_month}
    known = {standing.budget.period: standing.budget for standing in store.standings([holder])}
    for period in Period:
        amount, count = amounts[period], tokens[period]
        if amount is None and count is None:
            continue
        budget = known.get(period, Budget(holder, period))
        if amount is not None:
            budget = structs.replace(budget, amount=round(amount * BILLIONTHS))
        if count is not None:
            budget = structs.replace(budget, tokens=count)
        store.set(budget)
    priced = any(card.price.prompt or card.price.completion for card in settings.specialists)
    if not priced and any(amount is not None for amount in amounts.values()):
        output.say(
            "No specialist has a price, so nothing is ever spent of an amount. Set tokens, or prices on the cards."
        )


def show(standings: Sequence[Standing], as_json: bool) -> None:
    """A line a budget."""
    if as_json:
        for standing in standings:
            output.print_json(_object(standing))
        return
    if not standings:
        output.say("No budget. `concertino keys budget` sets one.")
        return
    output.print_table(_TITLES, [_row(standing) for standing in standings])


def _object(standing: Standing) -> dict[str, Any]:
    budget, left = standing.budget, standing.amount_left
    return {
        budget.holder.kind.value: budget.holder.subject,
        "period": budget.period.value,
        "amount": {
            "budget": None if budget.amount is None else budget.amount / BILLIONTHS,
            "spent": standing.spent.amount / BILLIONTHS,
            "reserved": standing.reserved.amount / BILLIONTHS,
            "left": None if left is None else left / BILLIONTHS,
        },
        "tokens": {
            "budget": budget.tokens,
            "spent": standing.spent.tokens,
            "reserved": standing.reserved.tokens,
            "left": standing.tokens_left,
        },
        "starts": standing.starts,
        "renews": standing.renews,
    }


def _row(standing: Standing) -> tuple[str, ...]:
    budget, spent, reserved = standing.budget, standing.spent, standing.reserved

    def amount(value: int | None) -> str:
        return "-" if value is None else money(value)

    def tokens(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    return (
        str(budget.holder), budget.period.value,
        amount(budget.amount), amount(spent.amount), amount(reserved.amount), amount(standing.amount_left),
        tokens(budget.tokens), tokens(spent.tokens), tokens(reserved.tokens), tokens(standing.tokens_left),
        datetime.fromtimestamp(standing.renews, UTC).strftime("%Y-%m-%d %H:%M"),
    )  # fmt: skip
