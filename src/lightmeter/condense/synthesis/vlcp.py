"""Vision-language category prototypes, and D4M: pictures drawn from clusters of latents and from captions."""

from __future__ import annotations

from dataclasses import dataclass

from lightmeter.condense.clusters import How
from lightmeter.condense.protocol import Condensed, Drawing, Material
from lightmeter.condense.synthesis.drawing import Choosing, Wish, drawn
from lightmeter.condense.synthesis.generator import check_drawing
from lightmeter.condense.synthesis.prototypes import Finding, ImagePrototype, Text
from lightmeter.condense.text_prototypes import Matching
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled

NEGATIVE = "cartoon, anime, painting"
"""Seed 002's negative prompt."""


@dataclass(frozen=True)
class Vlcp(Spelled):
    """A picture from the centre of each cluster of latents, told by the caption that says most of the cluster.

    Defaults are those that work with the small generator; `VLCP_SD15` has those published for Stable Diffusion 1.5.

    strength, guidance, steps, negative, mode, until: `protocol.Drawing` · text, image, outliers, beta, top, matching,
    clusters (how k-means runs): `prototypes.Finding`; without an image prototype pictures are drawn from noise alone
    candidates: pictures drawn of each prototype, of which one is kept: the least loss of the teacher + apart · the
    greatest cosine of its features to those kept before; it knows all real pictures, and so does the result
    Cost: candidates · steps · strength · two runs of the denoiser a picture, and k-means of the latents.
    Source: Zou et al. 2025, arXiv:2506.23580 (seed 002, section 3); candidates: arXiv:2507.13074; mode:
    arXiv:2505.18963.
    """

    strength: float = 0.3
    guidance: float = 3.0
    steps: int = 50
    negative: str = ""
    text: Text = "prototype"
    image: ImagePrototype = "centre"
    outliers: float = 0.01
    beta: float = 0.7
    top: int = 30
    matching: Matching = "words"
    clusters: How = "auto"
    candidates: int = 1
    apart: float = 0.0
    mode: float = 0.0
    until: float = 0.5

    @property
    def makes(self) -> bool:
        """It makes pictures."""
        return True

    def __post_init__(self) -> None:
        check_drawing(self.drawing())
        Choosing(self.candidates, self.apart)
        self.finding()
        if self.image == "none" and (self.mode or self.text == "none"):
            raise InvalidValueError("a picture must be drawn from something: set image or text, and no mode without")

    def drawing(self) -> Drawing:
        """How pictures are drawn."""
        strength = 1.0 if self.image == "none" else self.strength
        return Drawing(strength, self.guidance, self.steps, self.negative, self.mode, self.until)

    def finding(self) -> Finding:
        """How prototypes are found."""
        return Finding(self.image, self.text, self.outliers, self.beta, self.top, self.matching, how=self.clusters)

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """`per_class` pictures of every class; what a class lacked is told in notes."""
        wish = Wish(self.drawing(), Choosing(self.candidates, self.apart))
        return drawn(material, per_class, self.finding(), wish, seed=seed)


VLCP_SD15 = Vlcp(strength=0.7, guidance=10.0, negative=NEGATIVE, outliers=0.0, matching="published", clusters="full")
"""As published for Stable Diffusion 1.5 on ImageWoof and ImageNet-1K; other sets leave out 1 or 10 % as outliers."""


@dataclass(frozen=True)
class D4m(Spelled):
    """D4M: a picture from the centre of each cluster of latents, told by the name of its class.

    Defaults are those that work with the small generator; `D4M_SD15` has those published. Clusters are found in
    mini-batches, as published.
    strength, guidance, steps, negative: `protocol.Drawing`
    Cost: steps · strength · two runs of the denoiser a picture.
    Source: Su et al. 2024, arXiv:2407.15138, with hard labels; its soft ones are a protocol's, not a method's.
    """

    strength: float = 0.3
    guidance: float = 3.0
    steps: int = 50
    negative: str = ""

    @property
    def makes(self) -> bool:
        """It makes pictures."""
        return True

    def __post_init__(self) -> None:
        check_drawing(self.drawing())

    def drawing(self) -> Drawing:
        """How pictures are drawn."""
        return Drawing(self.strength, self.guidance, self.steps, self.negative)

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """`per_class` pictures of every class."""
        finding = Finding(text="class", how="mini-batch")
        return drawn(material, per_class, finding, Wish(self.drawing()), seed=seed)


D4M_SD15 = D4m(strength=0.7, guidance=8.0, negative=NEGATIVE)
"""As published for Stable Diffusion 1.5."""
