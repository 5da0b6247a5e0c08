"""The interpreter of pickles: what it builds, and that nothing a file says is ever run."""

import collections
import contextlib
import io
import os
import pickle
import pickletools
import struct
import sys
import time
import zipfile
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.assets import inert
from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.errors import LightmeterError, RejectedFileError, UnsafeFileError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**100), 2**100) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(-(2**40), 2**40), inner)
    ),
    max_leaves=20,
)


def load(data: bytes):
    return inert.load(inert.BoundedStream(io.BytesIO(data), len(data)), lambda found: found)


@settings(max_examples=150, deadline=None)
@given(PLAIN, st.integers(2, 5))
def test_builds_plain_values_like_python_does(value, protocol):
    if protocol == 2 and _has_bytes(value):
        protocol = 3  # protocol 2 spells bytes as a call of _codecs.encode, which is dropped
    assert load(pickle.dumps(value, protocol)) == value


def _has_bytes(value):
    if isinstance(value, dict):
        return any(map(_has_bytes, value.values()))
    return isinstance(value, bytes) or (isinstance(value, list | tuple) and any(map(_has_bytes, value)))


@pytest.mark.parametrize("protocol", range(6))
def test_builds_an_ordered_dict_without_its_attributes(protocol):
    made = collections.OrderedDict(a=1, b=[2.5, None, (1, 2, 3)])
    made._metadata = {"version": 1}
    got = load(pickle.dumps(made, protocol))
    assert got == {"a": 1, "b": [2.5, None, (1, 2, 3)]}
    assert type(got) is dict


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_refused_or_plain(data):
    with contextlib.suppress(LightmeterError):
        load(b"\x80\x02" + data + b".")


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def by_stack(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


HOSTILE = {
    "os.system": pickle.dumps(Evil(os.system, "touch ran"), 2),
    "os.system, newest protocol": pickle.dumps(Evil(os.system, "touch ran"), 5),
    "os.system, oldest protocol": pickle.dumps(Evil(os.system, "touch ran"), 0),
    "eval": pickle.dumps(Evil(eval, "open('ran', 'w')"), 4),
    "exec in a list": pickle.dumps([1, {"a": Evil(exec, "open('ran', 'w')")}], 4),
    "getattr": pickle.dumps(Evil(getattr, "x", "upper"), 4),
    "torch.hub": b"\x80\x02ctorch.hub\nload\n(X\x04\x00\x00\x00repotR.",
    "torch.load": b"\x80\x02ctorch\nload\n(X\x04\x00\x00\x00ran.tR.",
    "numpy.load": b"\x80\x02cnumpy\nload\n(X\x04\x00\x00\x00ran.tR.",
    "numpy reconstruct": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(tR.",
    "a name from the stack": b"\x80\x04" + by_stack("posix", "system") + text("touch ran") + b"\x85R.",
    "a name made of memo and stack": b"\x80\x04"
    + text("posix")
    + b"\x94"
    + text("system")
    + b"\x94\x30\x30h\x00h\x01\x93.",
    "a dotted name": b"\x80\x04" + by_stack("collections", "OrderedDict.fromkeys") + b".",
    "a name with an escape": b"\x80\x02cos\\q\nsystem\\x41\n.",
    "a name without an end": b"\x80\x02cos\nsystem",
    "a dotted module": b"\x80\x02ctorch._utils\n__builtins__.eval\n.",
    "torch, but no storage": b"\x80\x02ctorch\nsave\n.",
    "a name that is no text": b"\x80\x04K\x01K\x02\x93.",
    "INST": b"\x80\x02(X\x01\x00\x00\x00aiposix\nsystem\n.",
    "OBJ": b"\x80\x02(cposix\nsystem\nX\x01\x00\x00\x00ao.",
    "OBJ of an allowed name": b"\x80\x02(ccollections\nOrderedDict\no.",
    "NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04ccollections\nOrderedDict\n)}\x92.",
    "EXT1": b"\x80\x02\x82\x01.",
    "STRING": b"\x80\x02S'a\\q'\n.",
    "PERSID": b"\x80\x02Pevil\n.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "EMPTY_SET": b"\x80\x04\x8f.",
    "BYTEARRAY8": b"\x80\x05\x96" + struct.pack("<Q", 1) + b"a.",
    "attributes of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x08\x00\x00\x00__code__Ns\x86b.",
    "attributes of a list": b"\x80\x02]}b.",
    "attributes of nothing": b"\x80\x02}b.",
    "a called storage type": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "a called value": b"\x80\x02X\x01\x00\x00\x00a)R.",
    "arguments that are no tuple": b"\x80\x02ccollections\nOrderedDict\n]R.",
    "OrderedDict of text": b"\x80\x02ccollections\nOrderedDict\nX\x02\x00\x00\x00ab\x85R.",
    "OrderedDict of odd pairs": b"\x80\x02ccollections\nOrderedDict\n](K\x01K\x02K\x03\x87e\x85R.",
    "OrderedDict with two arguments": b"\x80\x02ccollections\nOrderedDict\n]]\x86R.",
    "a tensor of nothing": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "a tensor of no storage": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x01))tR.",
    "a parameter of no tensor": b"\x80\x02ctorch._utils\n_rebuild_parameter\n(X\x01\x00\x00\x00atR.",
    "torch.Size of text": b"\x80\x02ctorch\nSize\nX\x01\x00\x00\x00a\x85R.",
    "a key that is a tuple": b"\x80\x02}))s.",
    "a key that is a list": b"\x80\x02}]Ks.",
    "a key with many bits": b"\x80\x02}\x8a\x0a" + b"\x01" * 10 + b"Ns.",
    "a number with many bits": b"\x80\x02\x8a\x40" + b"\x01" * 64 + b".",
    "a long number": b"\x80\x02L" + b"9" * 100_000 + b"L\n.",
    "append to a tuple": b"\x80\x02)K\x01a.",
    "set on a list": b"\x80\x02]K\x01K\x01s.",
    "pop from nothing": b"\x80\x020.",
    "pop through a mark": b"\x80\x02K\x01(\x85.",
    "a mark too many": b"\x80\x02(K\x01.",
    "no mark": b"\x80\x02K\x01t.",
    "two values": b"\x80\x02K\x01K\x02.",
    "no value": b"\x80\x02.",
    "no end": b"\x80\x02K\x01",
    "an empty memo": b"\x80\x02h\x05.",
    "a huge memo": b"\x80\x02K\x01r\xff\xff\xff\xffj\xfe\xff\xff\xff.",
    "text longer than the file": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "bytes longer than memory": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
    "a frame longer than memory": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.X",
    "an odd number of items": b"\x80\x02}(K\x01K\x02K\x03u.",
    "bad UTF-8": b"\x80\x02X\x01\x00\x00\x00\xff.",
    "unknown opcode": b"\x80\x02\xfe.",
    "nested arguments": b"\x80\x02ccollections\nOrderedDict\n" + b"(" * 1000 + b"t" * 1000 + b"R.",
}


WATCHED = {
    "os.system",
    "exec",
    "compile",
    "subprocess.Popen",
    "pickle.find_class",
    "import",
    "socket.connect",
    "os.exec",
}


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """What Python's audit hook saw while `audit.on`; a hook can't be removed, so there is one."""
    path = tmp_path_factory.mktemp("warm") / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:  # zipfile imports its codec for names at its first reading
        archive.writestr("x", "")
    with pytest.raises(RejectedFileError):
        read_checkpoint(path)
    seen = SimpleNamespace(on=False, events=[])
    sys.addaudithook(lambda event, _: seen.events.append(event) if seen.on and event in WATCHED else None)
    yield seen
    seen.on = False


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_run_nothing(data, make, saved, tmp_path, monkeypatch, audit):
    monkeypatch.chdir(tmp_path)
    for file in (make.zipped(data, {}), data, make.legacy(make.Raw(data[2 * (data[:1] == b"\x80") : -1]), [])):
        path = saved(file)
        audit.on = True
        with pytest.raises((UnsafeFileError, RejectedFileError)):
            read_checkpoint(path)
        audit.on = False
    assert audit.events == []
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]


def test_the_audit_would_have_seen_it(audit):
    audit.on = True
    eval("1")
    audit.on = False
    assert audit.events
    audit.events.clear()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (HOSTILE["os.system"], "posix.system"),
        (HOSTILE["eval"], "builtins.eval"),
        (HOSTILE["torch.hub"], "torch.hub.load"),
        (HOSTILE["a name from the stack"], "posix.system"),
        (HOSTILE["a dotted name"], "collections.OrderedDict.fromkeys"),
        (HOSTILE["NEWOBJ"], "NEWOBJ"),
        (HOSTILE["attributes of a function"], "sets attributes"),
        (HOSTILE["a called storage type"], "torch.FloatStorage"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_refusal_names_what_was_refused(data, name):
    with pytest.raises(UnsafeFileError) as caught:
        load(data)
    assert name in str(caught.value)


def test_python_itself_would_have_run_it(tmp_path, monkeypatch):
    """The hostile file is really hostile."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE["os.system"])
    assert (tmp_path / "ran").exists()


def test_every_opcode_is_known_or_refused():
    for opcode in pickletools.opcodes:
        known = opcode.name in inert._KNOWN
        refused = opcode.name in {
            "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER",
            "STRING", "EMPTY_SET", "ADDITEMS", "FROZENSET", "BYTEARRAY8",
        }  # fmt: skip
        assert known != refused, opcode.name


def test_too_many_steps_are_refused(monkeypatch):
    monkeypatch.setattr(inert, "MOST_OPCODES", 1000)
    with pytest.raises(UnsafeFileError, match="at most 1,000 steps"):
        load(b"\x80\x02" + b"N0" * 1000 + b"N.")


def test_too_many_bytes_are_refused():
    data = b"\x80\x02X" + struct.pack("<I", 1000) + b"a" * 1000 + b"."
    for limit in (3, 7, 100, 1007):
        with pytest.raises(UnsafeFileError, match=f"at most {limit:,} bytes"):
            inert.load(inert.BoundedStream(io.BytesIO(data), len(data), limit_bytes=limit), lambda found: found)


def test_reading_stops_right_after_the_pickle():
    file = io.BytesIO(pickle.dumps([1, 2]) + b"rest")
    inert.load(inert.BoundedStream(file, 100), lambda found: found)
    assert file.read() == b"rest"


def test_shared_containers_do_not_multiply(make, saved):
    """Fifty lists, each twice in the next: 2**50 paths."""
    tree = b"]q\x00" + b"".join(b"]q%c(h%ch%ce" % (i + 1, i, i) for i in range(45)) + b"h\x2d"
    nested = b"(" + tree + b"l"
    begin = time.process_time()
    with pytest.raises(UnsafeFileError, match="nest at most"):
        read_checkpoint(saved(make.zipped({"x": make.Raw(nested), "w": make.tensor()}, {"0": bytes(24)})))
    assert time.process_time() - begin < 10


def test_long_names_are_refused(make, saved):
    tree = make.tensor()
    for letter in "abcdefghijkl":
        tree = {letter * 100: tree}
    with pytest.raises(UnsafeFileError, match="1000 letters"):
        read_checkpoint(saved(make.zipped(tree, {"0": bytes(24)})))
