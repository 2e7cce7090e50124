"""The mock as a server: SOAP, messageapi, control API, inbox page, and scenario files."""
