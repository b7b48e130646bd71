"""Quantization of a bundle for the int8 and bf16 engines: ``ssr-train quantize``."""
