"""Open-E: the client that publishes messages there, and a mock of it for tests and partners."""
