"""What is logged and counted of requests, and by whose address."""
