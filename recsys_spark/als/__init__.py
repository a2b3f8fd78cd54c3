"""The distributed algorithm: settings, orders, executors over blocks, the training loop, the fitted model."""
