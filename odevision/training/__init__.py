"""Model and batches -> checkpoint: config, loop, optimizer, checkpoint."""
