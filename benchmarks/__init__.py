"""Speed beside peers: `python -m benchmarks.network`, `.files`, `.training`; `.report` fills the README's tables."""
