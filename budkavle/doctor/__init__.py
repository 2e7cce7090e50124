"""Check an installation: everything that the service and the workers need, without changing anything."""
