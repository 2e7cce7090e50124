"""The client of the party service, which knows the legal ids of persons."""
