"""Parse a catalogue file, and report all its faults at once with their lines."""
