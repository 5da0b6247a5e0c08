"""The one table where indexes are found; each is imported when it is asked for."""

from __future__ import annotations

INDEXES: dict[str, str] = {
    "granular": "lightmeter.search.granular:Granular",
    "three-way": "lightmeter.search.three_way:ThreeWay",
    "pivots": "lightmeter.search.pivots:Pivots",
    "permutation": "lightmeter.search.permutation:Permutation",
    "hyperplanes": "lightmeter.search.hyperplanes:Hyperplanes",
    "one-bit": "lightmeter.search.one_bit:OneBit",
    "brute": "lightmeter.search.backends.brute:Brute",
    "faiss": "lightmeter.search.backends.faiss:Faiss",
    "hnswlib": "lightmeter.search.backends.hnswlib:Hnswlib",
    "usearch": "lightmeter.search.backends.usearch:Usearch",
    "trees": "lightmeter.search.backends.trees:Trees",
    "kd-forest": "lightmeter.search.backends.kd_forest:KdForest",
}
