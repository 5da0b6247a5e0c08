"""The one table where engines are found."""

ENGINES: dict[str, str] = {
    "inline": "lightmeter.engines.inline:Inline",
    "local": "lightmeter.engines.local:Local",
}
