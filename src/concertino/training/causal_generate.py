"""Greedy answers of a causal model under torch, constrained to labels as llama.cpp's grammar constrains them.

Needs torch; imported by `training.causal` when a training begins.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.models.llama.modeling_llama import LlamaModel

CACHE = "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"
"""What transformers calls a model's keys and values so far; its newer versions renamed it."""

Forward = Callable[..., Any]
"""Calls the model: token ids, and Hugging Face's keyword arguments; gives its output."""


class LabelTokens:
    """Which tokens may follow what was said so far, so that only a label can be said, in whatever tokens.

    That is what a grammar of the labels allows. A tokenizer whose tokens are not plain bytes is held to each label's
    own tokens instead.
    """

    def __init__(self, tokenizer: Any, labels: Sequence[str], end: int) -> None:
        self._tokenizer, self._end = tokenizer, end
        self._bytes = type(tokenizer.decoder).__name__ == "ByteLevel"
        self._paths = [self._path(label) for label in labels]
        self._known: dict[tuple[Any, ...], list[int]] = {}

    def _path(self, label: str) -> tuple[Any, ...]:
        if self._bytes:
            return tuple(_BYTE_SIGNS[byte] for byte in label.encode())
        return tuple(self._tokenizer.encode(label, add_special_tokens=False).ids)

    def said(self, ids: Sequence[int]) -> tuple[Any, ...]:
        """What token ids spell, as a place on the labels' paths."""
        return tuple("".join(self._tokenizer.id_to_token(token) for token in ids)) if self._bytes else tuple(ids)

    def after(self, said: tuple[Any, ...]) -> list[int]:
        """Token ids that may come next; the end of the turn once a label is whole."""
        if said not in self._known:
            found: set[int] = set()
            for path in self._paths:
                if path[: len(said)] == said:
                    found |= self._next(path[len(said) :])
            self._known[said] = sorted(found or {self._end})
        return self._known[said]

    def _next(self, rest: tuple[Any, ...]) -> set[int]:
        if not rest:
            return {self._end}
        if not self._bytes:
            return {rest[0]}
        tokens = (self._tokenizer.token_to_id("".join(rest[:size])) for size in range(1, len(rest) + 1))
        return {token for token in tokens if token is not None}


def _byte_signs() -> list[str]:
    """The character by which byte-level BPE writes each byte (Radford et al. 2019, GPT-2's encoder.py)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


_BYTE_SIGNS = _byte_signs()


def greedy(
    forward: Forward,
    prompts: Sequence[Sequence[int]],
    end: int,
    max_tokens: int,
    allowed: LabelTokens | None = None,
    *,
    batch: int = 16,
    device: Any = "cpu",
) -> list[list[int]]:
    """The most likely continuation of each prompt, token by token, up to `end` (left out) or `max_tokens`."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        with torch.no_grad():
            said = _batch(forward, [prompts[index] for index in chosen], end, max_tokens, allowed, device)
        for index, ids in zip(chosen, said, strict=True):
            answers[index] = ids
    return answers


def _batch(
    forward: Forward,
    prompts: Sequence[Sequence[int]],
    end: int,
    max_tokens: int,
    allowed: LabelTokens | None,
    device: Any,
) -> list[list[int]]:
    longest = max(map(len, prompts))
    # Padding stands on the left, so that all prompts end, and all answers begin, in one column.
    ids = torch.tensor([[end] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache()
    said: list[list[int]] = [[] for _ in prompts]
    open_ = [True] * len(prompts)
    for _ in range(max_tokens):
        out = forward(
            ids,
            attention_mask=mask,
            position_ids=places,
            use_cache=True,
            logits_to_keep=1,
            **{CACHE: cache},
        )
        logits = out.logits[:, -1].float()
        following = [_choice(logits[row], allowed, said[row]) if open_[row] else end for row in range(len(prompts))]
        for row, token in enumerate(following):
            open_[row] = open_[row] and token != end
            if open_[row]:
                said[row].append(token)
        if not any(open_):
            break
        ids = torch.tensor(following, device=device)[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        places = places[:, -1:] + 1
    return said


def _choice(logits: Any, allowed: LabelTokens | None, said: list[int]) -> int:
    if allowed is None:
        return int(logits.argmax())
    tokens = allowed.after(allowed.said(said))
    return tokens[int(logits[tokens].argmax())]
