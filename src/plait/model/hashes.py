"""BLAKE2, without OpenSSL: `import hashlib` loads that library, which costs 3 ms of every start and is not used."""

try:
    from _blake2 import blake2b
except ImportError:  # a Python that has all its hashes from OpenSSL
    from hashlib import blake2b

__all__ = ["blake2b"]
