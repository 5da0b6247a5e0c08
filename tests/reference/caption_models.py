"""Tiny vision-language models with random weights, saved with their processors as real ones are."""

from __future__ import annotations

from lightmeter.encoders.captioning.by_model import silent

WORDS = (
    "a an the cat dog ship in on of image picture red blue describe physical appearance include details about its shape"
    " posture color and any distinct features user assistant what does with paragraph is shown photo"
).split()


def tokenizer(specials, *, template=None, wrapped=False, **named):
    """Byte pairs learnt from a few words, in memory; `wrapped` puts <s> and </s> around a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token=None))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<pad>", "<s>", "</s>", *specials], initial_alphabet=sorted(alphabet),
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    if wrapped:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    given = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", **named}
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=template, **given)


LLAVA_TEMPLATE = (
    "{% for m in messages %}{{ m['role'].upper() }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
_TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def _llama(tok):
    from transformers import LlamaConfig

    return LlamaConfig(
        **_TEXT, num_key_value_heads=4, vocab_size=len(tok), pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def _llava():
    import transformers as t

    tok = tokenizer(["<image>"], template=LLAVA_TEMPLATE)
    vision = t.CLIPVisionConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, image_size=32, patch_size=8,
        projection_dim=16,
    )  # fmt: skip
    config = t.LlavaConfig(
        vision_config=vision, text_config=_llama(tok), image_token_id=tok.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default", vision_feature_layer=-1, image_seq_length=16,
    )  # fmt: skip
    pixels = t.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = t.LlavaProcessor(
        pixels, tok, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )  # fmt: skip
    return t.LlavaForConditionalGeneration(config), processor


def _idefics3():
    import transformers as t

    specials = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    specials += [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    template = LLAVA_TEMPLATE.replace("<image>\n", "<image>")
    tok = tokenizer(
        specials, template=template,
        extra_special_tokens={"image_token": "<image>", "fake_image_token": "<fake_token_around_image>",
                              "global_image_token": "<global-img>", "end_of_utterance_token": "<end_of_utterance>"},
    )  # fmt: skip
    vision = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    config = t.Idefics3Config(
        vision_config=vision, text_config=_llama(tok), image_token_id=tok.convert_tokens_to_ids("<image>"),
        scale_factor=2, pad_token_id=tok.pad_token_id,
    )  # fmt: skip
    pixels = t.Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=False
    )
    processor = t.Idefics3Processor(pixels, tok, image_seq_len=4, chat_template=template)
    return t.Idefics3ForConditionalGeneration(config), processor


def _blip():
    import transformers as t

    tok = tokenizer([], wrapped=True, cls_token="<s>", sep_token="</s>")
    text = {**_TEXT, "vocab_size": len(tok), "encoder_hidden_size": 24, "max_position_embeddings": 64,
            "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}  # fmt: skip
    vision = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    config = t.BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    pixels = t.BlipImageProcessorPil(size={"height": 32, "width": 32})
    return t.BlipForConditionalGeneration(config), t.BlipProcessor(pixels, tok)


def _florence2():
    import transformers as t

    tok = tokenizer(["<image>"], extra_special_tokens={"image_token": "<image>"})
    text = t.BartConfig(
        vocab_size=len(tok), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=128, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
    )  # fmt: skip
    vision = {
        "embed_dim": [8, 16, 24, 32], "num_heads": [2, 2, 2, 2], "num_groups": [2, 2, 2, 2], "depths": [1, 1, 1, 1],
        "window_size": 2, "projection_dim": 32, "patch_size": [7, 3, 3, 3], "max_temporal_embeddings": 4,
        "max_position_embeddings": 8,
    }  # fmt: skip
    config = t.Florence2Config(
        vision_config=vision, text_config=text, image_token_id=tok.convert_tokens_to_ids("<image>"),
        is_encoder_decoder=True,
    )  # fmt: skip
    pixels = t.CLIPImageProcessorPil(size={"height": 64, "width": 64}, do_center_crop=False)
    pixels.image_seq_length = 5
    return t.Florence2ForConditionalGeneration(config), t.Florence2Processor(pixels, tok)


_KINDS = {"llava": _llava, "vlm": _idefics3, "blip": _blip, "florence2": _florence2}


def save_caption_model(kind, folder):
    """A folder as the captioner of this kind reads it.  Size: about 0.1 M parameters."""
    import torch
    import transformers

    torch.manual_seed(0)
    with silent(transformers):
        model, processor = _KINDS[kind]()
        model.eval().save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder
