"""What classes are called in prompts."""

from __future__ import annotations

from lightmeter.condense.image_set import ImageSet
from lightmeter.encoders.captioning.protocol import spoken


def class_name(images: ImageSet, label: int) -> str:
    """A class as a prompt: its name, words parted by spaces."""
    return spoken(images.classes[label].replace("_", " "))
