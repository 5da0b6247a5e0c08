"""What people see: tables, progress, plots, contact sheets and self-contained pages."""

from lightmeter.report.page import Page, Shot
from lightmeter.report.pictures import jpeg_bytes, png_bytes, wav_bytes
from lightmeter.report.plots import bars_png, curves_png, frontier_png
from lightmeter.report.progress import EventWriter, Progress
from lightmeter.report.sheet import contact_sheet, frame_strip
from lightmeter.report.text import bytes_text, clean, count_text, ratio_text, seconds_text, table, wants_color

__all__ = [
    "EventWriter",
    "Page",
    "Progress",
    "Shot",
    "bars_png",
    "bytes_text",
    "clean",
    "contact_sheet",
    "count_text",
    "curves_png",
    "frame_strip",
    "frontier_png",
    "jpeg_bytes",
    "png_bytes",
    "ratio_text",
    "seconds_text",
    "table",
    "wants_color",
    "wav_bytes",
]
