"""The studies by name, apart from what runs them: `lightmeter study --help` lists them and imports nothing heavy."""

from __future__ import annotations

STUDIES: dict[str, str] = {
    "caltech": "lightmeter.studies.caltech:CALTECH",
    "faces": "lightmeter.studies.faces:FACES",
    "ann": "lightmeter.studies.ann:ANN",
    "yt8m": "lightmeter.studies.yt8m:YT8M",
    "bair": "lightmeter.studies.bair:BAIR",
    "distill": "lightmeter.studies.distill:DISTILL",
}
"""Study → where it is declared."""
