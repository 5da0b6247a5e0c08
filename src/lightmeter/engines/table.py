"""The one table where engines are found."""

ENGINES: dict[str, str] = {
    "inline": "lightmeter.engines.inline:Inline",
    "local": "lightmeter.engines.local:Local",
    "ray": "lightmeter.engines.ray:Ray",
}
