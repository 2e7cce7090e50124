"""The layer between Connexion and the handlers: routing, validation of requests, responses, documentation pages.

It knows contracts, but no noun of the service.
"""
