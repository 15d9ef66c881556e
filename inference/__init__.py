"""A network at work: weights files, images of any size in parts, picture files, videos, the comparison sheet."""
