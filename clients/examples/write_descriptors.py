"""Triton's gRPC definition, as protoc reads it (--descriptor_set_in): python write_descriptors.py FILE"""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2

found = FileDescriptorSet()
for module in (model_config_pb2, service_pb2):
    module.DESCRIPTOR.CopyToProto(found.file.add())
Path(sys.argv[1]).write_bytes(found.SerializeToString())
