"""Errors in the form that the contracts of the service publish: codes and texts."""
