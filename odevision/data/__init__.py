"""Files on disk to batches of images on the device."""
