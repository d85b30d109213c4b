"""Tune a sentence encoder end to end on labelled texts. The only file of the router that needs torch."""

import hashlib
import os
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from concertino.backends.encoder.session import EncoderFiles
from concertino.errors import ConfigurationError
from concertino.recipe import Precision
from concertino.router.encoder import clip, window
from concertino.training.precision import in_bf16
from concertino.training.routing.augment import vary
from concertino.training.routing.data import CLASSES, CONVERSATION, Row

Note = Callable[[str], None]

SHARES: dict[str, dict[str, float]] = {
    "code": {
        "conversation_code": 0.06,
        "seeds_code": 0.36, "mmlu_code": 0.16, "nl2bash": 0.12, "mbpp": 0.07, "mixed_code": 0.07,
        "mbpp_solution": 0.06, "nl2bash_command": 0.06, "mbpp_prompt": 0.05, "mmlu_lettered_code": 0.05,
    },
    "finance": {
        "conversation_finance": 0.06,
        "seeds_finance": 0.36, "mmlu_finance": 0.18, "banking77": 0.12, "tatqa": 0.09, "tfns": 0.09,
        "clinc_banking": 0.07, "mmlu_lettered_finance": 0.05, "tatqa_paragraph": 0.04,
    },
    "legal": {
        "conversation_legal": 0.06,
        "seeds_legal": 0.34, "mmlu_legal": 0.23, "cuad": 0.14, "unfair_tos": 0.11, "overruling": 0.10,
        "mmlu_lettered_legal": 0.08,
    },
    "medical": {
        "conversation_medical": 0.06,
        "seeds_medical": 0.32, "mmlu_medical": 0.22, "medquad": 0.14, "mts_dialog": 0.08, "pubmedqa": 0.07,
        "mmlu_lettered_medical": 0.06, "medquad_answer": 0.05, "mts_note": 0.03, "pubmedqa_context": 0.03,
    },
    "general": {
        "conversation_general": 0.06,
        "mmlu_general": 0.30, "seeds_general": 0.20, "mixed": 0.17, "clinc": 0.15, "gsm8k": 0.07,
        "mmlu_lettered_general": 0.07, "user_instructions": 0.04,
    },
}  # fmt: skip
"""In what proportion the sources of a class are drawn: questions that people ask weigh more than their number."""

GENERAL_WEIGHT = 1.4
"""`general` is drawn more often than each domain: it is the widest class."""
HEAD_SCALE = 16.0
"""The head reads a unit vector, so its logits are scaled by a constant to let them grow."""


class Recipe(Struct, frozen=True):
    """Everything that decides the result, beside the data."""

    seed: int = 7
    members: int = 1
    """Trainings, each on a draw of its own from one start, whose weights are averaged (Wortsman et al. 2022,
    arXiv:2203.05482): better than one of them, at the same cost when routing. Every second one sees single questions
    only, no conversations."""
    general_bias: float = 0.4
    """Added to the logit of `general`: of what is asked in use, more than a class's equal share is nobody's."""
    epochs: int = 3
    per_class: int = 4000
    """Rows drawn for a domain in an epoch."""
    batch: int = 32
    encoder_rate: float = 6e-5
    head_rate: float = 3e-3
    smoothing: float = 0.05
    layers: int = 6
    threads: int = 2
    precision: Precision = Precision.AUTO
    """What the matrices are multiplied in; weights and gradients are kept in fp32."""
    tokens: int = 128
    """What training reads of a text; the router itself reads more."""


class Tuned(Struct, frozen=True):
    """A tuned encoder: arrays under their Hugging Face names, and the head as (`[width, classes]`, `[classes]`)."""

    encoder: dict[str, np.ndarray]
    head: tuple[np.ndarray, np.ndarray]
    final_loss: float


def draw_epoch(
    rows: Sequence[Row], per_class: int, rng: random.Random, *, alone: bool = False
) -> list[tuple[str, int]]:
    """A class-balanced draw of varied texts with class numbers; small sources repeat, large ones are sampled.

    `alone` leaves out turns with others of another subject before them.
    """
    by_source: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if not (alone and row.source.startswith(CONVERSATION)):
            by_source[row.source].append(row)
    drawn: list[tuple[str, int]] = []
    for number, label in enumerate(CLASSES):
        present = {name: share for name, share in SHARES[label].items() if by_source.get(name)}
        asked = [] if alone else [row for row in rows if row.source.startswith("seeds_") and row.label != label]
        wanted = per_class * (GENERAL_WEIGHT if label == "general" else 1.0) / max(sum(present.values()), 1e-9)
        for name, share in present.items():
            pool, count = by_source[name], round(share * wanted)
            picks = pool * (count // len(pool)) + rng.sample(pool, count % len(pool))
            if name.startswith(CONVERSATION):
                drawn += [(row.text, number) for row in picks]
                continue
            others = [rng.choice(asked).text if asked else None for _ in picks]
            drawn += [
                (vary(row.text, rng, rng.choice(pool).text, other), number)
                for row, other in zip(picks, others, strict=True)
            ]
    rng.shuffle(drawn)
    return drawn


def _batches(
    drawn: Sequence[tuple[list[int], int]], size: int, rng: random.Random
) -> list[list[tuple[list[int], int]]]:
    """Batches of texts of like length, so that little is padding, in random order."""
    ordered = sorted(drawn, key=lambda pair: len(pair[0]) + rng.random() * 6)
    batches = [list(ordered[start : start + size]) for start in range(0, len(ordered), size)]
    rng.shuffle(batches)
    return batches


def _import_torch() -> tuple[Any, Any, Any]:
    try:
        import torch
        import transformers
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigurationError("training the router needs torch: pip install 'concertino[train]'") from error
    return torch, transformers, Tokenizer


def _load_encoder(transformers: Any, base: EncoderFiles) -> Any:
    from safetensors.torch import load_file

    config = transformers.BertConfig.from_json_file(str(base.config))
    config._attn_implementation = "eager"  # on a CPU twice as fast as torch's fused attention with dropout
    model = transformers.BertModel(config, add_pooling_layer=False)
    arrays = {name.removeprefix("bert."): value for name, value in load_file(str(base.weights)).items()}
    missing = model.load_state_dict(arrays, strict=False).missing_keys
    if missing:
        raise ConfigurationError(f"{base.weights} lacks {missing[0]} and {len(missing) - 1} more", param="base_model")
    return model


def tune(rows: Sequence[Row], base: EncoderFiles, recipe: Recipe, note: Note = lambda _: None) -> Tuned:
    """Tune the encoder `base` and a linear head on `rows`: the mean of `recipe.members` trainings.

    AdamW with linear warm-up and decay, cross-entropy with label smoothing, word embeddings frozen: a token that no
    training row has keeps its place among its neighbours. Raises ConfigurationError without the `train` extra.
    """
    members = []
    for number in range(recipe.members):
        if recipe.members > 1:
            note(f"member {number + 1} of {recipe.members}")
        members.append(tune_member(rows, base, recipe, number, note))
    mean = averaged(members)
    mean.head[1][CLASSES.index("general")] += recipe.general_bias
    return mean


def averaged(members: Sequence[Tuned]) -> Tuned:
    """The mean of trainings that began alike."""
    encoder = {name: np.mean([one.encoder[name] for one in members], axis=0) for name in members[0].encoder}
    weight, bias = (np.mean([one.head[part] for one in members], axis=0) for part in (0, 1))
    return Tuned(encoder, (weight, bias), float(np.mean([one.final_loss for one in members])))


def tune_member(
    rows: Sequence[Row], base: EncoderFiles, recipe: Recipe, number: int, note: Note = lambda _: None
) -> Tuned:
    """Training `number` (from 0) of the recipe: it begins as the others do, with draws of its own."""
    torch, transformers, tokenizer_type = _import_torch()
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    rng = random.Random(recipe.seed + number)  # noqa: S311 - sampling, not secrets
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = tokenizer_type.from_file(str(base.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    model = _load_encoder(transformers, base)
    model.encoder.layer = model.encoder.layer[: recipe.layers]
    model.embeddings.requires_grad_(False)
    head = torch.nn.Linear(model.config.hidden_size, len(CLASSES))
    torch.nn.init.normal_(head.weight, std=0.02)
    torch.nn.init.zeros_(head.bias)
    torch.manual_seed(recipe.seed + number)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "lr": recipe.encoder_rate}, {"params": head.parameters(), "lr": recipe.head_rate}],
        weight_decay=0.01,
        fused=True,
    )
    alone = number % 2 == 1
    epochs = [draw_epoch(rows, recipe.per_class, rng, alone=alone) for _ in range(recipe.epochs)]
    steps = sum(-(-len(epoch) // recipe.batch) for epoch in epochs)
    warm = max(1, steps // 16)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))
    )
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    fast = in_bf16(recipe.precision)
    model.train()
    running, step = float("nan"), 0
    for number, epoch in enumerate(epochs, 1):
        encoded = [(window(tokenizer.encode(clip(text)).ids, recipe.tokens), label) for text, label in epoch]
        for batch in _batches(encoded, recipe.batch, rng):
            longest = max(len(ids) for ids, _ in batch)
            ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
            mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
            labels = torch.tensor([label for _, label in batch])
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            kept = mask[:, :, None].float()
            pooled = (hidden * kept).sum(1) / kept.sum(1)
            loss = loss_of(HEAD_SCALE * head(torch.nn.functional.normalize(pooled)), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            value = float(loss.detach())
            running = value if step == 0 else 0.98 * running + 0.02 * value
            step += 1
            if step % 100 == 0:
                note(f"epoch {number}, step {step} of {steps}, loss {running:.3f}")
    arrays = {name: value.detach().float().numpy() for name, value in model.state_dict().items()}
    weight = HEAD_SCALE * head.weight.detach().numpy().T
    return Tuned(arrays, (weight, HEAD_SCALE * head.bias.detach().numpy()), running)


def digest_of(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names and bytes, in name order: equal where two runs gave the same weights."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
