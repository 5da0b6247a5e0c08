"""Captions by models of a folder: any that chats about pictures, BLIP, Florence-2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lightmeter.encoders.captioning.by_model import ByModel
from lightmeter.encoders.captioning.protocol import spoken
from lightmeter.errors import InvalidValueError, MissingAssetError

PROMPT = (
    "Describe the physical appearance of the {class} in the image. Include details about its shape, posture, color, "
    "and any distinct features."
)
"""The published question with the space that its code lacks (seed 002, section "Descriptions")."""


@dataclass(frozen=True)
class Vlm(ByModel):
    """Asks a model that chats about pictures: Idefics3, Qwen-VL, Gemma 3, LLaVA-NeXT, ….

    Options: as `ByModel`. The folder must hold a chat template too (chat_template.jinja, or inside of
    tokenizer_config.json or chat_template.json); it runs in the sandbox of transformers.

    prompt: the question; {class} stands for the class
    Runs transformers' AutoModelForImageTextToText.
    """

    prompt: str = PROMPT

    network: ClassVar[str] = "AutoModelForImageTextToText"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prompt.strip():
            raise InvalidValueError("prompt must be a question, got nothing")

    def question(self, class_name: str) -> str:
        """What the model is asked about a picture of a class."""
        return self.prompt.replace("{class}", spoken(class_name))

    def _inputs(self, processor: Any, pictures: Sequence[Any], class_name: str) -> Any:
        if not (getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)):
            raise MissingAssetError(f"{self.folder} lacks chat_template.jinja: put there what the model's makers give")
        asked = {"type": "text", "text": self.question(class_name)}
        talks = [[{"role": "user", "content": [{"type": "image", "image": each}, asked]}] for each in pictures]
        return processor.apply_chat_template(
            talks, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt", padding=True
        )

    def _read(self, processor: Any, tokens: Any, inputs: Any) -> list[str]:
        """What comes after the question."""
        return super()._read(processor, tokens[:, inputs["input_ids"].shape[1] :], inputs)


@dataclass(frozen=True)
class Blip(ByModel):
    """BLIP: short captions that go on from a prompt, which stays in front.

    Options: as `ByModel`.
    prompt: how a caption begins; {class} stands for the class; '' lets the model begin
    Source: Li et al. 2022, arXiv:2201.12086. Runs transformers' BlipForConditionalGeneration.
    """

    max_tokens: int = 40
    beams: int = 3
    prompt: str = "a photo of a {class}"

    types: ClassVar[tuple[str, ...]] = ("blip",)
    network: ClassVar[str] = "BlipForConditionalGeneration"

    def _inputs(self, processor: Any, pictures: Sequence[Any], class_name: str) -> Any:
        begun = self.prompt.replace("{class}", spoken(class_name))
        text = {"text": [begun] * len(pictures)} if begun else {}
        return processor(images=list(pictures), return_tensors="pt", **text)


@dataclass(frozen=True)
class Florence2(ByModel):
    """Florence-2: captions at three lengths; the class is not asked for.

    Options: as `ByModel`.
    task: <CAPTION>, <DETAILED_CAPTION> or <MORE_DETAILED_CAPTION>
    Source: Xiao et al. 2023, arXiv:2311.06242. Runs transformers' Florence2ForConditionalGeneration.
    """

    max_tokens: int = 256
    beams: int = 3
    task: str = "<MORE_DETAILED_CAPTION>"

    types: ClassVar[tuple[str, ...]] = ("florence2",)
    network: ClassVar[str] = "Florence2ForConditionalGeneration"
    tasks: ClassVar[tuple[str, ...]] = ("<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task not in self.tasks:
            raise InvalidValueError(f"task must be one of {', '.join(self.tasks)}, got {self.task!r}")

    def _inputs(self, processor: Any, pictures: Sequence[Any], class_name: str) -> Any:
        return processor(text=[self.task] * len(pictures), images=list(pictures), return_tensors="pt")
