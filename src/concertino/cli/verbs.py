"""The verbs by name, and the group that imports the one that was called."""

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

VERBS = {
    "up": "Serve the team: pull what is missing, load it, and answer requests.",
    "ask": "Ask the team, or one specialist, and stream the answer.",
    "route": "Say who would answer, how sure the router is, and why.",
    "plan": "Show the parts that a request would be divided into, and whom each is for.",
    "run": "Run a skill over a file of texts.",
    "specialists": "Show the team: who they are and what they were measured to do.",
    "pull": "Fetch base models into the store and verify them.",
    "models": "Base models: what there is, what is here, what it takes.",
    "doctor": "Check this machine and this configuration, and say what to do.",
    "keys": "API keys of the gateway, and budgets.",
    "audit": "The audit log: who asked, what was decided, and proof of it.",
    "new": "Look at a file of examples and propose a recipe for it.",
    "build": "Make a specialist: curate, train, evaluate and promote, in order.",
    "curate": "Make a dataset of a recipe's sources: clean, deduplicated, split, with a data sheet.",
    "train": "Train the adapter of a recipe on a curated dataset.",
    "evaluate": "Measure a trained skill against its base, the generalist and the classical baselines.",
    "promote": "Let a trained and evaluated skill serve, if it passes the gate.",
    "rollback": "Let the version before serve a skill again.",
    "retire": "Let no version serve a skill any more.",
    "lineage": "What serves each skill, what served before, and where it came from.",
    "ingest": "Index files, so that a specialist answers from them and cites them.",
    "router": "Train the router, measure it, and see why it decides as it does.",
    "bench": "Run a benchmark behind a figure of the manual.",
}

EXAMPLES = {
    "pull": ("concertino pull", "concertino pull all-MiniLM-L6-v2"),
    "models": ("concertino models", "concertino models verify", "concertino models remove smollm2-135m-instruct"),
    "keys": (
        "concertino keys create --name ci --tenant research --tokens-per-day 200000",
        "concertino keys list",
        "concertino keys budget --tenant research --amount-per-month 50",
        "concertino keys usage",
        "concertino keys revoke ID",
    ),
    "audit": ("concertino audit tail -n 5", "concertino audit show chatcmpl-7dbe", "concertino audit verify"),
    "bench": ("concertino bench", "concertino bench routing --json", "concertino bench conductor --help"),
    "router": ("concertino router evaluate --data-dir data", 'concertino router explain "is this clause valid?"'),
}
"""For verbs whose help is the list of their own verbs; the others give examples in their text."""


class ReaderGone(Exception):
    """Whoever read our output has seen enough (`| head`)."""


class VerbGroup(TyperGroup):
    """Knows every verb by one line, and imports `concertino.cli.VERB` when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Placeholders: they are listed in the help, and they are what a mistyped verb is compared with.
        self.commands = {name: TyperCommand(name, help=line) for name, line in VERBS.items()}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return load(cmd_name) if cmd_name in VERBS else None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # Under its own name, because typer would end the process with status 1 for it.
            raise ReaderGone from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


def load(verb: str) -> Any:
    """The command of a verb: its module's `app` where it has verbs of its own, else the function of its name."""
    module = importlib.import_module(f"concertino.cli.{verb}")
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    holder.callback()(lambda: None)
    epilogue = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in EXAMPLES[verb]) if verb in EXAMPLES else None
    if hasattr(module, "app"):
        holder.add_typer(module.app, name=verb, epilog=epilogue)
    else:
        holder.command(verb, epilog=epilogue)(getattr(module, verb))
    group: Any = typer.main.get_group(holder)
    return group.commands[verb]
