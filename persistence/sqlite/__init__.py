"""SQLite: one file, inline in the event loop, with one writer at a time."""
