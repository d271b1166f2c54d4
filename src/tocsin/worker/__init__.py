"""The worker: claims jobs and timers, runs them, stops gracefully. Any number of workers may run."""
