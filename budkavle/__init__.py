"""The composition root: settings, the assembled service, the command line. Nobody imports it."""
