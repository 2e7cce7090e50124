"""Words and rules of the service: frozen dataclasses, pure functions, errors. Imports nothing of ours."""
