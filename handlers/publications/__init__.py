"""Create messages exactly once, and publish those of cases on Open-E exactly once (decisions 0007, 0025, 0026)."""
