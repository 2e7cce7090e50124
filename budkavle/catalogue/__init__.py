"""Reading a catalogue file: every fault in it at once, each with its place."""
