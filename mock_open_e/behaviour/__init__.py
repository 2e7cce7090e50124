"""The behaviour of the mock, independent of its interfaces: operations, messages, faults, journal. No network."""
