"""The control plane: where and when work runs."""
