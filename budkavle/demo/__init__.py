"""The additions of `budkavle dev` to the service: example rows, a receiver of events, and commands to paste."""
