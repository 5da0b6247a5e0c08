"""Where ways to condense, protocols of scoring and students are found; each is imported when it is asked for."""

from __future__ import annotations

CONDENSERS: dict[str, str] = {
    "random-rows": "lightmeter.condense.selecting.random_rows:Random",
    "herding": "lightmeter.condense.selecting.herding:Herding",
    "k-center": "lightmeter.condense.selecting.k_center:KCenter",
    "k-medoid": "lightmeter.condense.selecting.k_medoid:KMedoid",
    "lowest-loss": "lightmeter.condense.selecting.lowest_loss:LowestLoss",
    "centroid": "lightmeter.condense.selecting.centroid:Centroid",
    "vlcp": "lightmeter.condense.synthesis.vlcp:Vlcp",
    "d4m": "lightmeter.condense.synthesis.vlcp:D4m",
    "minimax": "lightmeter.condense.synthesis.minimax:Minimax",
    "rded": "lightmeter.condense.learning_pixels.rded:Rded",
    "dm": "lightmeter.condense.learning_pixels.dm:Dm",
    "sre2l": "lightmeter.condense.learning_pixels.sre2l:Sre2l",
    "idc": "lightmeter.condense.learning_pixels.idc:Idc",
    "imported": "lightmeter.condense.learning_pixels.imported:Imported",
}

PROTOCOLS: dict[str, str] = {
    "minimax-hard": "lightmeter.condense.scoring.presets:Minimax",
    "rded-soft": "lightmeter.condense.scoring.presets:Rded",
    "quick": "lightmeter.condense.scoring.presets:Quick",
}

STUDENTS: dict[str, str] = {
    "conv-net": "lightmeter.condense.scoring.students:ConvNetStudent",
    "resnet": "lightmeter.condense.scoring.students:ResNetStudent",
    "resnet-ap": "lightmeter.condense.scoring.students:ResNetApStudent",
}
