"""The built-in readers, one file a format, found through the same entry points as a stranger's."""
