"""OAuth 2.0 access tokens: trusted issuers, their key sets, and the verification of tokens."""
