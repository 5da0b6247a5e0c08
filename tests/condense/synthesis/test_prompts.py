"""Captions of any length, as the text encoder reads them."""

import numpy as np
import pytest
from synthesis_models import captions_of

from lightmeter.condense.synthesis.prompts import Prompts
from lightmeter.condense.synthesis.words import BEGIN, END, longest, tokenizer_of
from lightmeter.errors import InvalidValueError

torch = pytest.importorskip("torch")


def prompts(tiny, long="chunk"):
    return Prompts(tiny.parts.tokenizer, tiny.parts.text_encoder, long)


def words(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def test_a_short_text_is_what_diffusers_makes_of_it(tiny, tiny_set):
    text, negative = captions_of(tiny_set)[0], "wide"
    wanted, other = tiny.pipeline.encode_prompt(text, "cpu", 1, True, negative)
    for long in ("chunk", "published", "truncate"):
        ((made, against),) = prompts(tiny, long).pairs([text], negative)
        torch.testing.assert_close(made, wanted[0])
        torch.testing.assert_close(against, other[0])


def test_long_texts_are_cut_in_pieces_with_ends_of_their_own(tiny):
    some = prompts(tiny)
    begin, end = some.tokenizer.bos_token_id, some.tokenizer.eos_token_id
    room = some.most - 2
    text = " ".join(["bar"] * (room + 2))
    (bar,) = set(words(some.tokenizer, text))
    first, second = some.pieces(text)
    assert first == (begin, *[bar] * room, end)
    assert second == (begin, bar, bar, end, *[some.tokenizer.pad_token_id] * (room - 2))
    ((made, against),) = some.pairs([text], "")
    assert made.shape == against.shape == (2 * some.most, 8)
    torch.testing.assert_close(against[: some.most], against[some.most :])  # two empty pieces


def test_published_pieces_share_one_begin_and_end(tiny):
    some = prompts(tiny, "published")
    begin, end, fill = (getattr(some.tokenizer, f"{each}_token_id") for each in ("bos", "eos", "pad"))
    text = " ".join(["bar"] * some.most)
    (bar,) = set(words(some.tokenizer, text))
    assert some.pieces(text) == [(begin, *[bar] * (some.most - 1)), (bar, end)]
    ((made, against),) = some.pairs([text], "")
    assert made.shape == against.shape == (some.most + 2, 8)
    with torch.no_grad():
        told = some.text_encoder(torch.tensor([[begin, end, *[fill] * (some.most - 2)]]))[0][0]
        rest = some.text_encoder(torch.tensor([[fill, fill]]))[0][0]
    torch.testing.assert_close(against, torch.cat([told, rest]))


def test_a_long_negative_fills_up_the_text(tiny):
    negative = " ".join(["wide"] * 40)
    for long in ("chunk", "published"):
        ((made, against),) = prompts(tiny, long).pairs(["bar"], negative)
        assert made.shape == against.shape
        assert len(made) > prompts(tiny).most


def test_what_is_cut_off_does_not_count(tiny):
    some = prompts(tiny, "truncate")
    pairs = some.pairs(["bar " * some.most, "bar " * (some.most + 9)], "")
    torch.testing.assert_close(pairs[0][0], pairs[1][0])
    assert len(pairs[0][0]) == some.most


def test_texts_are_blind_to_their_batch(tiny, tiny_set):
    some, told = prompts(tiny), captions_of(tiny_set)
    for at, (text, other) in enumerate(some.pairs((*told[:5], "bar " * 30), "top")):
        if at < 5:
            ((alone, against),) = some.pairs([told[at]], "top")
            torch.testing.assert_close(text, alone)
            torch.testing.assert_close(other, against)


def test_the_way_must_be_known(tiny):
    with pytest.raises(InvalidValueError, match="long must be"):
        prompts(tiny, "wrap")


class TestTokenizer:
    def test_frequent_words_are_one_token(self):
        told = ["The ankle boot is dark", "the ankle boot is bright"] * 3
        made = tokenizer_of(told, most=20)
        assert made.convert_ids_to_tokens(made("The ankle boot").input_ids) == [
            BEGIN, "the</w>", "ankle</w>", "boot</w>", END,
        ]  # fmt: skip
        assert longest(made, told) == 7

    def test_unknown_words_are_spelled(self):
        made = tokenizer_of(["boot"], most=20)
        ids = made("zürich 雪").input_ids
        assert made.unk_token_id not in ids[1:-1]
        assert made.decode(ids, skip_special_tokens=True) == "zürich 雪"

    def test_order_of_captions_does_not_matter(self):
        told = ["a b c", "dark boot", "dark shirt"]
        assert tokenizer_of(told).get_vocab() == tokenizer_of(told[::-1]).get_vocab()

    def test_it_comes_back_from_its_folder(self, tmp_path):
        from transformers import CLIPTokenizer

        made = tokenizer_of(["dark boot"], most=12)
        made.save_pretrained(tmp_path)
        again = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
        np.testing.assert_array_equal(again("dark boots!").input_ids, made("dark boots!").input_ids)
        assert again.model_max_length == 12

    def test_there_must_be_room_for_begin_and_end(self):
        with pytest.raises(InvalidValueError, match="most must be 3"):
            tokenizer_of(["a"], most=2)
