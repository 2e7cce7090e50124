"""Receiving and decoding bodies within limits of time and memory."""
