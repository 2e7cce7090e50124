"""The faults of requests, the table of statuses, and the forms of errors."""
