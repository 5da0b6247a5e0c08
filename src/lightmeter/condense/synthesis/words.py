"""A tokenizer of CLIP's kind made from the captions of a set: every frequent word of theirs is one token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lightmeter.condense.synthesis.folder import quiet
from lightmeter.errors import InvalidValueError
from lightmeter.parts import need

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
_SUFFIX = "</w>"
_FEWEST = 2 * 256 + 2


def tokenizer_of(captions: Iterable[str], *, most: int = 77, words: int = 2048) -> Any:
    """transformers' CLIPTokenizer with a vocabulary of its own: all bytes, and up to `words` pairs joined.

    captions: what it shall read, class names among them · most: tokens that are read at once
    Same captions, in any order: same tokenizer.  Source: Sennrich et al. 2016, arXiv:1508.07909 (byte pairs).
    """
    if most < 3:
        raise InvalidValueError(f"most must be 3 or more tokens, got {most}: two are begin and end")
    transformers = need("transformers", "video")
    vocabulary, merges = _learnt(sorted(captions), _FEWEST + words)
    with quiet():
        return transformers.CLIPTokenizer(vocabulary, merges, model_max_length=most)


def longest(tokenizer: Any, captions: Sequence[str]) -> int:
    """Tokens of the longest caption, begin and end among them."""
    return max((len(each) for each in tokenizer(list(captions), verbose=False).input_ids), default=2)


def _learnt(captions: Sequence[str], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    import json

    from tokenizers import Tokenizer, models, trainers

    with quiet():
        reads = need("transformers", "video").CLIPTokenizer().backend_tokenizer
    made = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=_SUFFIX))
    made.normalizer, made.pre_tokenizer = reads.normalizer, reads.pre_tokenizer
    alphabet = _bytes()
    trainer = trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=alphabet, end_of_word_suffix=_SUFFIX,
        special_tokens=[*alphabet, *(each + _SUFFIX for each in alphabet), BEGIN, END],
    )  # fmt: skip
    made.train_from_iterator(captions, trainer)
    model = json.loads(made.to_str())["model"]
    return model["vocab"], [tuple(each) for each in model["merges"]]


def _bytes() -> list[str]:
    """The letters that stand for the 256 bytes in byte-level tokenizers, sorted."""
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())
