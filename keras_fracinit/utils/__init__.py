"""Helpers shared by all packages, free of Keras."""
