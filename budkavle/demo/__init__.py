"""What `budkavle dev` adds to the service: example rows, a receiver of events, and commands to paste."""
