"""Load from outside Python: ``grpc_load.cc`` sends, :mod:`load.generator` builds and drives it."""
