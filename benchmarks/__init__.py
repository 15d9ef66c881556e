"""Speed beside peers: `python -m benchmarks.network` and others; `.report` fills the documents' tables."""
