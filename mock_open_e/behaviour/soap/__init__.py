"""Reading and writing the SOAP of the callback, its WSDL and its schema."""
