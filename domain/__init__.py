"""Dataclasses, rules and errors of the service: frozen dataclasses and pure functions. Imports nothing of ours."""
