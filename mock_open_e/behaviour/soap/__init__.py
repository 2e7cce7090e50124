"""Parse and build the SOAP of the callback, its WSDL and its schema."""
