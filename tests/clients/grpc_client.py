"""Uses a node over gRPC with nothing but server reflection: no .proto file, no generated code.

grpc_client.py HOST:PORT
"""
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

channel = grpc.insecure_channel(sys.argv[1])
database = ProtoReflectionDescriptorDatabase(channel)
print("services:", ", ".join(sorted(database.get_services())))
pool = descriptor_pool.DescriptorPool(database)


def call(service: str, method: str, body: dict, stream: bool = False):
    descriptor = pool.FindServiceByName(f"hivemem.v1.{service}").FindMethodByName(method)
    request = message_factory.GetMessageClass(descriptor.input_type)
    answer = message_factory.GetMessageClass(descriptor.output_type)
    path = f"/hivemem.v1.{service}/{method}"
    kind = channel.unary_stream if stream else channel.unary_unary
    stub = kind(path, request_serializer=request.SerializeToString, response_deserializer=answer.FromString)
    return stub(json_format.ParseDict(body, request()), timeout=10)


stored = call("MemoryService", "Store", {"memory": {"title": "Reflection", "content": "Found without a file."}})
print("stored:", json_format.MessageToDict(stored))
for part in call("RecallService", "Recall", {"query": "found without a file"}, stream=True):
    print("recall:", str(json_format.MessageToDict(part))[:200])
try:
    call("MemoryService", "Get", {"id": "0192aabb-ccdd-7eef-8011-223344556677"})
    raise SystemExit("a memory that does not exist was found")
except grpc.RpcError as error:
    print("refused:", error.code().name, error.details())
print("ok")
