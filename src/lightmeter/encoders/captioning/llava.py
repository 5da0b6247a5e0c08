"""LLaVA as the distillation paper asked it: its question, its temperature, its clean-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lightmeter.encoders.captioning.models import PROMPT, Vlm
from lightmeter.encoders.captioning.protocol import spoken

PUBLISHED_PROMPT = (
    "Describe the physical appearance of the {class} in the image.Include details about its shape, posture, color, "
    "and any distinct features."
)
"""Byte for byte as the official code sends it, without the space before "Include"."""
_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)


@dataclass(frozen=True)
class Llava(Vlm):
    """LLaVA 1.5, asked about each picture's class, temperature 0.2, one beam; `"` and `'s` are deleted.

    Options: as `ByModel`.
    prompt: the question; {class} stands for the class; not used where `published`
    published: as seed 002 and its code did it: the question without the space before "Include", LLaVA's own talk
    (conversation `llava_v1`: a sentence of introduction, then USER and ASSISTANT) and pictures made square with bars of
    the mean colour. Without it: the space, the folder's chat template (where there is none: USER and ASSISTANT), and
    the folder's processor alone, which crops the middle.
    Source: Liu et al. 2023, arXiv:2310.03744; seed 002. Runs transformers' LlavaForConditionalGeneration; other random
    draws than the published ones, which had no seed.
    """

    max_tokens: int = 1024
    temperature: float = 0.2
    prompt: str = PROMPT
    published: bool = False

    types: ClassVar[tuple[str, ...]] = ("llava",)
    network: ClassVar[str] = "LlavaForConditionalGeneration"

    def question(self, class_name: str) -> str:
        """What the model is asked about a picture of a class."""
        return (PUBLISHED_PROMPT if self.published else self.prompt).replace("{class}", spoken(class_name))

    def _inputs(self, processor: Any, pictures: Sequence[Any], class_name: str) -> Any:
        told = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
        if told and not self.published:
            return super()._inputs(processor, pictures, class_name)
        talk = f"USER: <image>\n{self.question(class_name)} ASSISTANT:"
        shown = list(pictures)
        if self.published:
            talk = f"{_SYSTEM} {talk}"
            shown = [_squared(each, processor.image_processor.image_mean) for each in pictures]
        return processor(images=shown, text=[talk] * len(shown), return_tensors="pt", padding=True)

    def _read(self, processor: Any, tokens: Any, inputs: Any) -> list[str]:
        return [without_quotes(each) for each in super()._read(processor, tokens, inputs)]


def without_quotes(text: str) -> str:
    """A caption as it was published: every `"` and every `'s` deleted, nothing else.

    >>> without_quotes('The dog\\'s coat is "curly".')
    'The dog coat is curly.'
    """
    return text.replace('"', "").replace("'s", "")


def _squared(picture: Any, mean: Sequence[float]) -> Any:
    """A picture in the middle of a square of its longer side; what is added has the mean colour."""
    from PIL import Image as Pillow

    width, height = picture.size
    if width == height:
        return picture
    side = max(width, height)
    made = Pillow.new("RGB", (side, side), tuple(int(each * 255) for each in mean))
    made.paste(picture, ((side - width) // 2, (side - height) // 2))
    return made
