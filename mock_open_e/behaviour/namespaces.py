"""XML namespaces of the callback."""

SOAP_NAMESPACE = "http://schemas.xmlsoap.org/soap/envelope/"
CALLBACK_NAMESPACE = "http://www.oeplatform.org/version/1.0/schemas/integration/callback"
