"""HTTP/1.1 servers under all of this: listening, limits for connections, signals."""
