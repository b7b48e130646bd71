"""From features to ages: one module a method, with its loss and its decoding."""
