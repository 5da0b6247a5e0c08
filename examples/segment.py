"""Masks from a handful of labelled frames: three encoders, how good and dear each is, the cheapest that will do.

    python examples/segment.py [FRAMES MASKS]

FRAMES and MASKS are two folders of pictures with the same names, as `lightmeter segment fit` reads them; without them,
moving shapes are drawn, of which nothing real is learnt. It writes segment.png into the folder you are in.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lightmeter.encoders.dense_cache import FeatureCache
from lightmeter.errors import LightmeterError
from lightmeter.heads.segmenting import MaskTraining, fit_prepared, mask_head, prepared, score_prepared
from lightmeter.heads.segmenting.controls import mean_mask
from lightmeter.library.segmenting import frame_cost
from lightmeter.media.clip_set import LabelledFrames, labelled_frames, split_by_group
from lightmeter.media.labelled_clips import open_labelled
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.meter.trials import Frontier, Trial, choose
from lightmeter.metrics import compared_masks
from lightmeter.parts import build
from lightmeter.report.overlay import overlay
from lightmeter.report.sheet import contact_sheet

ENCODERS = ("pixels/patch=2", "random/width=16,maps=[down2,down4]", "lite-maps/enlarge=2,maps=[stage1,stage2,stage3]")
HEAD, TRAINING = "multi-scale/stride=4,width=16,blocks=2", MaskTraining(steps=60, batch=16, lr=0.01)


def main(frames: LabelledFrames) -> None:
    learn, rest = split_by_group(frames.groups, share=0.5, seed=0)
    held_out = frames.take(rest)
    some, others = split_by_group(held_out.groups, share=0.5, seed=0)
    train, valid, test = frames.take(learn), held_out.take(some), held_out.take(others)
    blind = mean_mask(train)
    systems, trials = [blind.calibrated(blind.scores(valid)).scores(test)], []
    tiles = [(overlay(test.frames[row], test.masks[row] == 1), "true") for row in range(4)]
    for spec in ENCODERS:
        encoder = build(spec, "dense-encoder")
        sets = [prepared(encoder, each, cache=FeatureCache()) for each in (train, valid, test)]
        model = fit_prepared(sets[0], mask_head(HEAD), sets[1], training=TRAINING, seed=0)
        systems.append(score_prepared(model, sets[2]))
        price = frame_cost(model, test)
        trials.append(Trial(spec, systems[-1].result().iou, price, "IoU"))
        tiles += [(overlay(test.frames[row], model.predict(test.frames[row])), spec) for row in range(4)]
    sure = compared_masks(systems, rounds=200, groups=test.groups)
    print(f"mean mask, which does not look: IoU {sure[0][0]['iou'].value:.3f}")
    for trial, (own, more) in zip(trials, sure[1:], strict=True):
        iou, gain = own["iou"], more["iou"]
        print(
            f"{trial.candidate}: IoU {iou.value:.3f} ({iou.low:.3f} to {iou.high:.3f}), {gain.value:+.3f} on the mean "
            f"mask, {1e3 * trial.cost.cpu_s:.2f} CPU-ms a frame"
        )
    bar = max(trial.quality for trial in trials) - 0.05
    print("on the frontier:", ", ".join(trial.candidate for trial in Frontier(trials).points))
    print(f"cheapest with IoU {bar:.3f}:", choose(trials, at_least=bar).candidate)
    print("look at", contact_sheet(tiles, "segment.png", columns=4, tile=160))


USAGE = "usage: python examples/segment.py [FRAMES MASKS] (two folders of pictures with the same names)"

if __name__ == "__main__":
    if len(sys.argv) not in (1, 3) or any(each.startswith("-") for each in sys.argv[1:]):
        raise SystemExit(USAGE)
    try:
        if len(sys.argv) == 3:
            main(open_labelled(Path(sys.argv[1]), Path(sys.argv[2]), size=(64, 64)).value)
        else:
            main(labelled_frames(moving_shapes(80, frames=2, size=64, seed=0)))
    except LightmeterError as error:
        raise SystemExit(str(error)) from None
