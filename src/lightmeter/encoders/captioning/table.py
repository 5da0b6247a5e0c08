"""The table where captioners are found; each is imported when it is asked for."""

from __future__ import annotations

CAPTIONERS: dict[str, str] = {
    "attributes": "lightmeter.encoders.captioning.attributes:Attributes",
    "sidecar": "lightmeter.encoders.captioning.sidecar:Sidecar",
    "llava": "lightmeter.encoders.captioning.llava:Llava",
    "vlm": "lightmeter.encoders.captioning.models:Vlm",
    "blip": "lightmeter.encoders.captioning.models:Blip",
    "florence2": "lightmeter.encoders.captioning.models:Florence2",
}
