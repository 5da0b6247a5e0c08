"""Items and features on disk: a folder that is searched, tagged and metered, and survives whatever happens to it."""

from lightmeter.library.contents import FileError, KnownPath, Tag
from lightmeter.library.features import Features, Series
from lightmeter.library.filters import Where
from lightmeter.library.store import Counts, Library, open_library
from lightmeter.library.views import Items

__all__ = ["Counts", "Features", "FileError", "Items", "KnownPath", "Library", "Series", "Tag", "Where", "open_library"]
