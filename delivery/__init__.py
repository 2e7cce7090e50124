"""The webhook worker: claims deliveries, calls the receivers, settles what came of it."""
