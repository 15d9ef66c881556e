"""Speed beside peers: `python -m benchmarks.network`, `.files`, `.training`; `.report` fills the documents' tables."""
