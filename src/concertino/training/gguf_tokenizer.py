"""The tokenizer that a GGUF file carries, as llama.cpp reads it (src/llama-vocab.cpp)."""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from concertino.errors import TrainingRefused

_CONTROL, _USER_DEFINED = 3, 4
"""Kinds of token in `tokenizer.ggml.token_type` that are found before the text is split."""

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {"qwen2": _WORDS.replace("DIGITS", r"\p{N}"), "llama-bpe": _WORDS.replace("DIGITS", r"\p{N}{1,3}")}


def read_tokenizer(fields: dict[str, Any], path: Path) -> Tokenizer:
    """A tokenizer from the fields of a GGUF file. Text is not normalised, since llama.cpp does not either.

    Raises TrainingRefused for a kind of tokenizer that is not known here to the letter.
    """

    def of(key: str) -> Any:
        field = fields.get(f"tokenizer.ggml.{key}")
        return field.contents() if field is not None else None

    model, pre = of("model"), of("pre") or "default"
    if model != "gpt2" or pre not in {*_SPLITS, "smollm", "gpt-2", "default"}:
        raise TrainingRefused(
            f"The base {path} has a tokenizer ({model}, {pre}) that is not read from GGUF here. Give its Hugging Face "
            "folder as training.base instead.",
            param="training.base",
        )
    tokens, kinds = of("tokens"), of("token_type")
    merges = [tuple(pair.split(" ", 1)) for pair in of("merges")]
    places = {token: place for place, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=places, merges=merges, ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = _pre_tokenizer(pre)
    tokenizer.decoder = decoders.ByteLevel()
    found = [(token, kind) for token, kind in zip(tokens, kinds, strict=True) if kind in (_CONTROL, _USER_DEFINED)]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token, kind in found if kind == _CONTROL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token, kind in found if kind == _USER_DEFINED])
    return tokenizer


def _pre_tokenizer(pre: str) -> Any:
    if pre in _SPLITS:
        split = pre_tokenizers.Split(Regex(_SPLITS[pre]), "isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level]) if pre == "smollm" else level
