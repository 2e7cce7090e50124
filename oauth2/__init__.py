"""OAuth 2.0 access tokens: trusted issuers, their key sets, the verification of tokens, and requests for tokens."""
