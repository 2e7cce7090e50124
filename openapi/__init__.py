"""The layer between Connexion and the handlers: routing, validation of requests, responses, documentation pages.

It depends on contracts, but on no noun of the service.
"""
