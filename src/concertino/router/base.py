"""The one protocol of a router tier."""

from collections.abc import Sequence
from typing import Protocol

from concertino.types import Message, Ranking


class Router(Protocol):
    """Says which domain a conversation belongs to.

    A router knows domains (`code`, `legal`, ...), not specialists: which specialist serves a domain is the team's
    business, and policy may have excluded it. A router is built without arguments or with keyword options from
    `router.options` of the configuration, and loads its weights on the first call or in `__init__`. One that has an
    argument `home` is given the folder where the model store lies.
    """

    def rank(self, conversations: Sequence[Sequence[Message]]) -> list[Ranking]:
        """One Ranking per conversation, in order, whose `scores` name every domain that the router knows.

        Must not raise on any text, however odd.
        """
        ...
