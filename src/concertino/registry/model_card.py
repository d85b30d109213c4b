"""MODEL_CARD.md of a version, with the front matter that Hugging Face reads.

Sections follow Mitchell et al., "Model Cards for Model Reporting" (2019); the front matter follows
https://huggingface.co/docs/hub/model-cards.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import yaml

from concertino.models.adapters import AdapterManifest
from concertino.models.catalogue import Entry, HuggingFaceSource
from concertino.recipe import Metric
from concertino.registry.gate import GENERALIST, Report
from concertino.registry.version import Version

_LABELS_SHOWN = 100
_HUB = "huggingface.co"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""`owner/name` of a repository of Hugging Face."""


def model_card(version: Version, report: Report, base: Entry, adapter: AdapterManifest) -> str:
    """The card as Markdown."""
    sections = (
        _title(version),
        _use(version),
        _limits(version, report),
        _data(version),
        _figures(report),
        _abstention(version, report),
        _running(version, adapter),
    )
    return _front_matter(version, report, base, adapter) + "\n" + "\n\n".join(sections) + "\n"


def _front_matter(version: Version, report: Report, base: Entry, adapter: AdapterManifest) -> str:
    task = "text-classification" if version.card.labels else "text-generation"
    figure = {"type": report.metric, "value": round(version.figures.value, 4), "name": report.metric.replace("_", " ")}
    repository, datasets = base_repository(base), dataset_ids(version.datasets)
    fields: dict[str, Any] = {
        "base_model": repository,
        "base_model_relation": "adapter" if repository else None,
        "license": base.licence.lower(),
        "library_name": "peft" if adapter.engine == "causal" else "concertino",
        "pipeline_tag": task,
        "tags": ["concertino", "lora", adapter.engine, *version.name.split("/")],
        "datasets": datasets,
        "metrics": [report.metric],
    }
    if len(datasets) == 1:  # a result without a dataset's id is no result to the Hub; the body has every figure
        dataset = {"type": datasets[0], "name": version.name, "split": report.part}
        result = {"task": {"type": task}, "dataset": dataset, "metrics": [figure]}
        fields["model-index"] = [{"name": version.name, "results": [result]}]
    known = {key: value for key, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True)}---\n"


def base_repository(base: Entry) -> str | None:
    """The Hub's id of a base, `owner/name`: of a repository of its publisher that its entry names, if it names one."""
    sources = [source.repo for file in base.files for source in file.sources if isinstance(source, HuggingFaceSource)]
    named = [*sources, _id_in(base.licence_url) or ""]
    return next((repo for repo in named if _HUB_ID.fullmatch(repo) and repo.split("/")[0] == base.publisher), None)


def dataset_ids(origins: Sequence[str]) -> list[str]:
    """The origins that are datasets of the Hub: `owner/name`, or the address of one."""
    found = [_id_in(origin, "datasets/") or origin for origin in origins]
    return [name for name in dict.fromkeys(found) if _HUB_ID.fullmatch(name)]


def _id_in(address: str, prefix: str = "") -> str | None:
    """`owner/name` of an address at the Hub, below `prefix`."""
    parts = urlsplit(address)
    path = parts.path.lstrip("/")
    if parts.scheme != "https" or parts.hostname != _HUB or not path.startswith(prefix):
        return None
    found = "/".join(path.removeprefix(prefix).split("/")[:2])
    return found if _HUB_ID.fullmatch(found) else None


def _title(version: Version) -> str:
    return f"# {version.name}\n\n{version.card.description}"


def _use(version: Version) -> str:
    labels = version.card.labels
    shown = ", ".join(f"`{label}`" for label in labels[:_LABELS_SHOWN])
    more = f" and {len(labels) - _LABELS_SHOWN} more" if len(labels) > _LABELS_SHOWN else ""
    answer = f"one of {len(labels)} labels: {shown}{more}." if labels else "a short text of its own."
    return (
        "## Intended use\n\n"
        f"It reads one text and answers with {answer} It is one skill of a team and has no use outside that task: it "
        "holds no conversation and follows no instructions."
    )


def _limits(version: Version, report: Report) -> str:
    lines = ["Texts unlike those it was trained on may be answered wrongly, and with confidence."]
    outside = report.out_of_scope
    if outside is not None and outside.answered is not None:
        lines.append(f"Of {outside.rows} texts from other domains, {outside.answered:.1%} were answered.")
    if report.scope_threshold is not None:
        lines.append(
            f"Where the scope, that a text is one that it is for, is below {report.scope_threshold:.2f}, it abstains."
        )
    elif report.calibration.threshold is None:
        lines.append("It has no threshold, so it never abstains.")
    if version.accepted:
        lines.append(f"A classical baseline does as well on the test part; it was promoted because: {version.accepted}")
    return "## Limits\n\n" + " ".join(lines)


def _data(version: Version) -> str:
    # A file of background texts states no licence; it is known where the same file taught the skill too.
    licences = {source.sha256: source.licence for source in version.lineage.sources if source.licence}
    rows = ["| file | licence | origin | SHA-256 |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {source.path} | {licences.get(source.sha256, 'not stated')} | {source.origin or 'not stated'} | "
        f"`{source.sha256[:16]}` |"
        for source in version.lineage.sources
    ]
    return (
        "## Data\n\n" + "\n".join(rows) + f"\n\nDataset `{version.lineage.dataset[:16]}`, made by recipe "
        f"`{version.lineage.recipe[:16]}`; datasheet.md says how it was curated and split."
    )


def _figures(report: Report) -> str:
    rows = [f"| runner | rows | {report.metric.replace('_', ' ')} | 95 % interval |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {runner.name} | {runner.rows} | {runner.value:.3f} | {runner.lower:.3f} to {runner.upper:.3f} |"
        for runner in report.runners
    ]
    gains = [
        f"- {found.difference:+.3f} over {found.name}, {found.lower:+.3f} to {found.upper:+.3f}, {found.rows} rows"
        for found in report.comparisons
    ]
    ratios = [found.cpu_ratio for found in report.against(GENERALIST) if found.cpu_ratio is not None]
    cost = f"\n\nCPU seconds of a request: {max(ratios):.4f} of the generalist's." if ratios else ""
    paired = "\n\nPaired, at 95 %:\n\n" + "\n".join(gains) if gains else ""
    repeat = f"\n\nRepeat it with `{report.command}`." if report.command else ""
    return f"## Figures\n\nOn the {report.part} part.\n\n" + "\n".join(rows) + paired + cost + repeat


def _abstention(version: Version, report: Report) -> str:
    threshold, figures = report.calibration.threshold, version.figures
    if threshold is None:
        none = "None for doubtful answers: no threshold keeps the errors of the answers given below the bound."
        graded = any(metric.graded for metric in Metric if metric == report.metric)
        if graded and report.calibration.abstention == "not_applicable":
            none = f"None for doubtful answers. {report.calibration.note}"
        if report.text_temperature is not None:
            none += " The confidence still tells sure answers from doubtful ones; evaluation.json has the curve."
        return f"## Abstention\n\n{none}"
    below = "the team's default specialist answers" if version.card.on_low_confidence == "escalate" else "it abstains"
    measured = ""
    if figures.coverage is not None:
        risk = "" if figures.risk is None else f", and {figures.risk:.1%} of those answers were wrong"
        measured = f" On the test part {figures.coverage:.1%} was answered{risk}."
    wrong = f"have a score below {report.right_score:g}" if report.right_score else "are wrong"
    promise = f"at most {report.calibration.alpha:.0%} of the answers given {wrong}"
    if report.calibration.abstention == "fitted":
        promise += ", at 95 % confidence."
    else:
        promise += " by estimate; the calibration part is too small to promise it."
    return (
        f"## Abstention\n\nBelow a confidence of {threshold:.4f} {below}. The threshold was fitted on the calibration "
        f"part so that {promise}{measured}"
    )


def _running(version: Version, adapter: AdapterManifest) -> str:
    return (
        "## How to run it\n\n"
        f"```sh\nconcertino pull {version.base}\n"
        f'echo \'{{"text": "..."}}\' | concertino run {version.name} --jsonl -\n```\n\n'
        f'Or over HTTP, as `model: "{version.name}"`. The adapter (LoRA, rank {adapter.rank}) fits only the base '
        f"{version.base} with SHA-256 `{version.base_sha256}`."
    )
