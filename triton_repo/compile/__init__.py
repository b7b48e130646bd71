"""A bundle compiled to a TensorRT plan: ``ssr-serve compile``.

:mod:`.compiler` builds or finds a plan, :mod:`.plan` refuses one that is not for this contract and machine,
:mod:`.runner` runs it on the GPU at hand. TensorRT is imported only when a plan is built or run.
"""
