"""What the mock does, whichever way it is called: operations, messages, faults, journal. No network."""
