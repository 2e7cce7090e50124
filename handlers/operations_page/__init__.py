"""The operations page: what operators look at and do in a browser (decision 0040)."""
