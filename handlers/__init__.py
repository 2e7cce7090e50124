"""What each operation of the contracts does: JSON in, domain call, JSON out."""
