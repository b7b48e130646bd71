"""``ssr-video watch``: cameras in, ages of tracked people out, for months."""
