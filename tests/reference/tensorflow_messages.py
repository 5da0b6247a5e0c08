"""tf.train.Example and SequenceExample as protobuf classes, built here from their definition: the peer of our codec."""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto


def _message(file, name, fields):
    made = file.message_type.add(name=name)
    for number, (field, kind, label, packed) in enumerate(fields, 1):
        added = made.field.add(name=field, number=number, label=label)
        if isinstance(kind, str):
            added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".tensorflow.{kind}"
        else:
            added.type = kind
        if packed:
            added.options.packed = True
    return made


def _map(message, name, value):
    entry = message.nested_type.add(name=f"{name.capitalize()}Entry".replace("_l", "L"))
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
    entry.field.add(
        name="value", number=2, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_MESSAGE, type_name=f".tensorflow.{value}"
    )
    message.field.add(
        name=name, number=1, label=_FIELD.LABEL_REPEATED, type=_FIELD.TYPE_MESSAGE,
        type_name=f".tensorflow.{message.name}.{entry.name}",
    )  # fmt: skip


def messages():
    """The classes Example and SequenceExample."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    one, many = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED
    _message(file, "BytesList", [("value", _FIELD.TYPE_BYTES, many, False)])
    _message(file, "FloatList", [("value", _FIELD.TYPE_FLOAT, many, True)])
    _message(file, "Int64List", [("value", _FIELD.TYPE_INT64, many, True)])
    kinds = [("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")]
    feature = _message(file, "Feature", [(name, kind, one, False) for name, kind in kinds])
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    _map(_message(file, "Features", []), "feature", "Feature")
    _message(file, "FeatureList", [("feature", "Feature", many, False)])
    _map(_message(file, "FeatureLists", []), "feature_list", "FeatureList")
    _message(file, "Example", [("features", "Features", one, False)])
    _message(
        file, "SequenceExample", [("context", "Features", one, False), ("feature_lists", "FeatureLists", one, False)]
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = [pool.FindMessageTypeByName(f"tensorflow.{name}") for name in ("Example", "SequenceExample")]
    return tuple(message_factory.GetMessageClass(each) for each in found)
