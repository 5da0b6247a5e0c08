"""`lightmeter segment predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import emit, json_option, quiet_option, refuse_here, say, shown_path

if TYPE_CHECKING:
    from lightmeter.heads.segmenting.segmenter import Segmenter
    from lightmeter.library.segment_files import FileMasks
    from lightmeter.meter.cost import Cost


@click.command(
    epilog="Examples: `lightmeter segment predict MODEL photo.jpg --out MASKS` · `lightmeter segment predict MODEL "
    "street.mp4 garden/ --out MASKS --json` · `lightmeter segment predict MODEL --onnx model.onnx`"
)
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("data", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder that gets masks and overlays.")
@click.option("--crf", default=18, show_default=True, type=click.IntRange(0, 51),
              help="Of overlay videos: lower is better and larger.")  # fmt: skip
@click.option(
    "--onnx", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write encoder and head as one ONNX file, held to be equal first.",
)  # fmt: skip
@json_option
@quiet_option
def predict(model: Path, data: tuple[Path, ...], **asked: Any) -> None:
    """Cut the foreground out of DATA, pictures, videos and folders of them, by a MODEL that `segment fit` made.

    OUT gets, of a picture, NAME.mask.png and NAME.overlay.png, of a video NAME.overlay.mp4, and of all of them
    masks.json: run lengths as COCO writes them, which `segment fit` reads. masks.json grows: what stands in it of other
    files stays, and files that the same model has answered are not answered again. Exit code 3: some files could not be
    read; they are named, and nothing of them is written.
    """
    from lightmeter.heads.segmenting.segmenter import Segmenter
    from lightmeter.library.segment_files import media_files

    if not data and asked["onnx"] is None:
        raise click.UsageError("name a picture, a video or a folder, or a file to write with --onnx")
    if data and asked["out"] is None:
        raise click.UsageError("masks need a folder: name it with --out")
    if not data:
        refuse_here(("out", "crf"), "is for DATA: name a picture, a video or a folder")
    files = media_files(data) if data else []
    segmenter = Segmenter.load(model)
    if asked["onnx"] is not None:
        _export(segmenter, asked)
    if files:
        _answer(segmenter, files, asked)


def _export(segmenter: Segmenter, asked: dict[str, Any]) -> None:
    from lightmeter.heads.segmenting.exporting import export_onnx
    from lightmeter.meter.units import bytes_text

    apart = export_onnx(segmenter, asked["onnx"])
    size_bytes = asked["onnx"].stat().st_size
    if asked["as_json"]:
        emit(
            [{
                "path": asked["onnx"], "size_bytes": size_bytes, "apart": apart, "frames": segmenter.encoder.frames,
                "height": segmenter.height, "width": segmenter.width,
            }],
            "segment.onnx/1",
        )  # fmt: skip
    else:
        click.echo(
            f"{shown_path(str(asked['onnx']))}: frames uint8 [{segmenter.encoder.frames}, {segmenter.height}, "
            f"{segmenter.width}, 3] → logits, above 0 inside · {bytes_text(size_bytes)} · within {apart:.1e} of torch"
        )


def _answer(segmenter: Segmenter, files: list[tuple[Path, str]], asked: dict[str, Any]) -> None:
    from lightmeter.library.segment_files import PredictOptions, predict_files
    from lightmeter.meter.cost import measure
    from lightmeter.report.progress import Progress

    with measure() as meter, Progress("predict", len(files), quiet=asked["quiet"]) as line:
        frames = [0]

        def heard(one: FileMasks) -> None:
            line.advance(**{"failed" if one.failed else "skipped" if one.again else "ok": 1})
            _show(one, asked)

        def counted(count: int) -> None:
            frames[0] += count
            line.label = f"predict ({frames[0]} frames)"
            line.advance()

        found = predict_files(
            segmenter, files, asked["out"], PredictOptions(asked["crf"]), tell=heard, frame=counted
        )  # fmt: skip
    failed = [each for each in found if each.failed]
    again = sum(each.again for each in found)
    if again:
        say(f"{again} files were answered by this model before: see {asked['out']}", quiet=asked["quiet"])
    say(_price(frames[0], len(found) - len(failed) - again, meter.cost), quiet=asked["quiet"])
    if failed:
        click.get_current_context().exit(3)


def _price(frames: int, files: int, cost: Cost) -> str:
    rate = f" · {1e3 * cost.cpu_s / frames:.3g} CPU-ms a frame" if frames else ""
    return f"{files} files, {frames} frames: {cost.text()}{rate}"


def _show(one: FileMasks, asked: dict[str, Any]) -> None:
    from lightmeter.media.rle import as_coco

    path = str(one.path)
    if one.failed:
        if asked["as_json"]:
            emit([{"path": path, "error": one.failed}], "segment.predict/1")
        say(f"{shown_path(path)}: {one.failed}")
        return
    for note in one.notes:
        say(f"{shown_path(path)}: {note}", quiet=asked["quiet"])
    if asked["as_json"]:
        emit(
            (
                {"path": path, "time_s": each.time_s, "again": one.again,
                 "inside": each.mask.area / (each.mask.height * each.mask.width), "mask": as_coco(each.mask)}
                for each in one.entries
            ),
            "segment.predict/1",
        )  # fmt: skip
        return
    count = "" if one.entries[0].time_s is None else f" in {len(one.entries)} frames"
    before = ", answered before" if one.again else ""
    click.echo(
        f"{shown_path(path)}: {100 * one.share:.1f} % inside{count}{before} → {shown_path(str(one.written[-1]))}"
    )
