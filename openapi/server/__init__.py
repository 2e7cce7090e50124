"""HTTP/1.1 servers: listening, limits of connections, signals."""
