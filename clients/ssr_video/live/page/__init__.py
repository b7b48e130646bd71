"""The live page of ``ssr-video watch``: what the cameras see now, in a browser."""
