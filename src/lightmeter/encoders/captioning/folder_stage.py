"""One picture of a folder → its caption, or its measures. Runs in a worker that may be killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightmeter.encoders.captioning.protocol import Captioner
from lightmeter.engines.stage import Beat, Failure, Result, Task
from lightmeter.errors import RejectedFileError
from lightmeter.media.door import pinned
from lightmeter.media.images import read_image
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.types import Array

VERSION = 1


@runtime_checkable
class Measuring(Protocol):
    """A captioner whose words are relative to the set: each picture is measured, the words come when all are."""

    def measure(self, images: Sequence[Array]) -> Array:
        """Float32 [N, M], a picture's row independent of the others."""
        ...

    def fit_measures(self, rows: Array) -> Any:
        """What can `describe` rows, once all of the set are known."""
        ...


@dataclass(slots=True)
class CaptionStage:
    """Reads and captions pictures. Payload: `path`, `root` (which it must not leave), `name`, `class_name`."""

    captioner: Captioner
    limits: MediaLimits = DEFAULT_LIMITS

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results."""
        return f"caption-{VERSION} {self.captioner.fingerprint}"

    def open(self) -> None:
        """Load the model."""
        self.captioner.load()

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """One outcome a picture; one that is refused is a failure with its code."""
        outcomes: dict[str, Result | Failure] = {}
        read: list[tuple[Task, Array | None, str]] = []
        for task in tasks:
            beat()
            try:
                read.append((task, *self._picture(task.payload)))
            except RejectedFileError as error:
                outcomes[task.key] = Failure(task.key, f"rejected:{error.code}", error.detail)
        for (task, _, note), value in zip(read, self._told(read), strict=True):
            outcomes[task.key] = Result(task.key, {"name": task.payload["name"], "note": note, **value})
        beat()
        return [outcomes[task.key] for task in tasks]

    def _picture(self, asked: dict[str, Any]) -> tuple[Array | None, str]:
        """Pixels, where the captioner looks at them, and what is damaged."""
        side = self.captioner.short_side
        if side == 0:
            return None, ""
        path = Path(asked["path"])
        with pinned(path, asked["root"]):
            reading = read_image(path, short_side=side, limits=self.limits)
        return reading.value.pixels, "; ".join(reading.notes) if reading.state == "damaged" else ""

    def _told(self, read: Sequence[tuple[Task, Array | None, str]]) -> list[dict[str, Any]]:
        if not read:
            return []
        images: Any = [pixels for _, pixels, _ in read]
        if isinstance(self.captioner, Measuring):
            return [{"text": "", "measures": row.tobytes()} for row in self.captioner.measure(images)]
        payloads = [task.payload for task, _, _ in read]
        texts = self.captioner.caption(
            images, [each["class_name"] for each in payloads], [each["name"] for each in payloads]
        )
        return [{"text": text, "measures": None} for text in texts]
