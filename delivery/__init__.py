"""The webhook worker: claims deliveries, calls the receivers and stores the outcomes."""
