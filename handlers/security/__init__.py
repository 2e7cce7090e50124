"""Authenticate callers, and authorise them for a system."""
