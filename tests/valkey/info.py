"""The replies to FT.INFO and INFO."""

from tests.valkey.index import Index
from tests.valkey.resp import Reply, Simple
from tests.valkey.schema import Field, Tag, Vector


def info_of(index: Index, *, is_old: bool) -> list[Reply]:
    """Return the reply to FT.INFO: names and values, one after the other."""
    definition = index.definition
    prefixes: list[Reply] = [Simple(prefix) for prefix in definition.prefixes]
    fields = sorted(definition.fields.values(), key=lambda field: field.attribute)
    records = sum(index.size_of(attribute) for attribute in definition.fields)
    count = (lambda n: b"%d" % n) if is_old else int
    reply: dict[bytes, Reply] = {
        b"index_name": Simple(definition.name),
        **({b"index_options": []} if is_old else {}),
        b"index_definition": flat(
            {b"key_type": Simple(b"HASH"), b"prefixes": prefixes, b"default_score": b"1"}
        ),
        b"attributes": [_attribute(index, field, is_old=is_old) for field in fields],
        b"num_docs": count(len(index.documents)),
        b"num_records": count(records),
        **({} if is_old else {b"total_term_occurrences": 0}),
        b"num_terms": count(0),
        b"hash_indexing_failures": b"%d" % index.failures,
        b"backfill_in_progress": b"%d" % (not index.is_ready),
        b"backfill_complete_percent": b"%.6f" % index.backfilled,
        b"mutation_queue_size": b"0",
        b"recent_mutations_queue_delay": b"0 sec",
        b"state": Simple(b"ready" if index.is_ready else b"backfill_in_progress"),
        **({} if is_old else {b"language": Simple(b"english")}),
    }
    return flat(reply)


def flat(names: dict[bytes, Reply]) -> list[Reply]:
    """Return names and values one after the other."""
    return [item for name, value in names.items() for item in (Simple(name), value)]


def section_of(indexes: list[Index]) -> bytes:
    """Return the section of INFO about memory."""
    lines = [
        "# search_index_stats",
        f"search_number_of_indexes:{len(indexes)}",
        f"search_total_indexed_documents:{sum(len(index.documents) for index in indexes)}",
        "",
        "# search_memory",
        f"search_index_reclaimable_memory:{sum(index.reclaimable for index in indexes)}",
        f"search_used_memory_bytes:{sum(index.memory for index in indexes)}",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _attribute(index: Index, field: Field, *, is_old: bool) -> list[Reply]:
    size = index.size_of(field.attribute)
    head: dict[bytes, Reply] = {
        b"identifier": Simple(field.identifier),
        b"attribute": Simple(field.attribute),
    }
    match field.kind:
        case Vector():
            memory = index.vectors * field.kind.size
            rest: dict[bytes, Reply] = {
                b"type": Simple(b"VECTOR"),
                b"index": _vector(index, field.kind),
            }
        case Tag():
            memory = 0
            rest = {
                b"type": Simple(b"TAG"),
                b"SEPARATOR": Simple(field.kind.separator),
                b"CASESENSITIVE": Simple(b"%d" % field.kind.case_sensitive),
                b"size": b"%d" % size,
            }
        case None:
            memory = 0
            rest = {b"type": Simple(b"NUMERIC"), b"size": b"%d" % size}
    return flat({**head, **({} if is_old else {b"user_indexed_memory": memory}), **rest})


def _vector(index: Index, vector: Vector) -> list[Reply]:
    algorithm: dict[bytes, Reply] = {b"name": Simple(vector.algorithm)}
    if vector.algorithm == b"HNSW":
        algorithm |= {
            b"m": vector.m,
            b"ef_construction": vector.ef_construction,
            b"ef_runtime": vector.ef_runtime,
        }
    else:
        algorithm |= {b"block_size": vector.block_size}
    return flat(
        {
            b"capacity": index.capacity,
            b"dimensions": vector.dimensions,
            b"distance_metric": Simple(b"COSINE"),
            b"size": b"%d" % index.vectors,
            b"data_type": Simple(b"FLOAT32"),
            b"algorithm": flat(algorithm),
        }
    )
