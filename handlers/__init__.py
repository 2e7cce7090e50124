"""Handlers of the contracts' operations: decode the request, call the domain, encode the response."""
