"""Count the calls of callers in memory, and record the counts in the background."""
