"""Nightly retraining: a challenger beside the champion, and what follows for the registry."""
