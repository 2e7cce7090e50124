"""The composition root: settings, the assembled service, the command line. No other package imports it."""
