"""Between Connexion and the handlers: routing, reading and checking requests, answers, documentation pages.

It knows contracts, and no noun of the service.
"""
