"""The one table where heads are found; each is imported when it is asked for."""

from __future__ import annotations

HEADS: dict[str, str] = {
    "ridge": "lightmeter.heads.ridge:Ridge",
    "svm": "lightmeter.heads.svm:Svm",
    "forest": "lightmeter.heads.forest:Forest",
    "knn": "lightmeter.heads.knn:Knn",
    "pnn": "lightmeter.heads.pnn:FourierPnn",
}
