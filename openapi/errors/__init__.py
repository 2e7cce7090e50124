"""What can be wrong with a request, the one table of statuses, and how errors are written."""
