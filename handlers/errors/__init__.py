"""Errors as the contracts of the service have published them: codes and texts."""
