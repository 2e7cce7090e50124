"""Logs and metrics of requests, and the addresses of callers."""
