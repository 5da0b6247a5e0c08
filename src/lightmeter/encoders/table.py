"""The one table where encoders are found; each is imported when it is asked for."""

from __future__ import annotations

ENCODERS: dict[str, str] = {
    "efficientnet-lite": "lightmeter.encoders.efficientnet_lite:EfficientNetLite",
    "color-histogram": "lightmeter.encoders.color_histogram:ColorHistogram",
    "bge-small": "lightmeter.encoders.bge:BgeSmall",
    "centred": "lightmeter.encoders.centred:Centred",
    "minilm": "lightmeter.encoders.minilm:MiniLm",
    "glove-mean": "lightmeter.encoders.glove:GloveMean",
    "log-mel": "lightmeter.encoders.log_mel:LogMel",
    "aisfx": "lightmeter.encoders.aisfx:Aisfx",
    "conse": "lightmeter.encoders.conse:Conse",
    "clip": "lightmeter.encoders.clip:ClipEncoder",
    "dlib-face": "lightmeter.encoders.dlib_face:DlibFace",
    "light-cnn": "lightmeter.encoders.light_cnn:LightCnn",
    "vggface": "lightmeter.encoders.vggface:VggFaceEncoder",
    "vggface2": "lightmeter.encoders.vggface2:VggFace2Encoder",
    "word-histogram": "lightmeter.encoders.word_histogram:WordHistogram",
    "tokens": "lightmeter.encoders.word_tokens:WordTokens",
    "learnt": "lightmeter.heads.learnt:Learnt",
}
