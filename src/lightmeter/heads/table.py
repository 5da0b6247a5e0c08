"""The one table where heads are found; each is imported when it is asked for."""

from __future__ import annotations

HEADS: dict[str, str] = {
    "ridge": "lightmeter.heads.ridge:Ridge",
    "svm": "lightmeter.heads.svm:Svm",
    "forest": "lightmeter.heads.forest:Forest",
    "knn": "lightmeter.heads.knn:Knn",
    "pnn": "lightmeter.heads.pnn:FourierPnn",
    "unigram": "lightmeter.heads.unigram:Unigram",
    "moe": "lightmeter.heads.moe:Moe",
    "dbof": "lightmeter.heads.frame_heads:Dbof",
    "lstm": "lightmeter.heads.frame_heads:Lstm",
    "netvlad": "lightmeter.heads.frame_heads:NetVlad",
    "nextvlad": "lightmeter.heads.frame_heads:NextVlad",
    "attention": "lightmeter.heads.frame_heads:Attention",
    "keyword-mlp": "lightmeter.heads.text_heads:KeywordMlp",
    "text-cnn": "lightmeter.heads.text_heads:TextCnn",
    "chain": "lightmeter.heads.chain:Chain",
    "label-ridge": "lightmeter.heads.label_ridge:LabelRidge",
    "small": "lightmeter.heads.small:Small",
}
