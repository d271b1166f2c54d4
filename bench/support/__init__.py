"""What the benchmarks share: histories to load, installations, processes, figures, plans."""
