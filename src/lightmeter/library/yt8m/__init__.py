"""YouTube-8M files in and out, without TensorFlow."""
