"""The version, in a module that imports nothing, so that `plait --version` costs nothing. The build reads it too."""

__version__ = "0.1.0"
