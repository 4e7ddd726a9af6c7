"""Helpers shared by all packages; only `layer_calls` needs Keras."""
