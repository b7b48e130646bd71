"""The ground floor, pure Python: the contract, the bundle, and what every part of the project shares."""

__version__ = "0.1.0"
