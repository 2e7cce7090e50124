"""Import the messages of other services (decision 0043)."""
