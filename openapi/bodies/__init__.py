"""Receive and decode bodies with limits on time and memory."""
