"""JSON schemas of many kinds, drawn by chance: for tests, and for benchmarks/structured.py."""

import random

WORDS = ("name", "size", "colour", "is_open", "items", "weight", "unit price", "größe", 'quo"ted', "kind")
PATTERNS = (r"^[A-Z]{2}-\d{3}$", r"^(red|green|blue)$", r"^[a-z]+(_[a-z]+)*$", r"^\d{4}-\d{2}$", r"^#[0-9a-f]{6}$")
FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "email")
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value", "children"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
CHAIN = {
    "type": "object",
    "properties": {"head": {"type": "string"}, "rest": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["head", "rest"],
    "additionalProperties": False,
}


def draw(number: int) -> dict:
    """The schema with this number."""
    chance = random.Random(number)
    if number % 25 == 0:
        return TREE
    if number % 25 == 1:
        return CHAIN
    return _object(chance, 3) if number % 5 else _any(chance, 2)


def _any(chance: random.Random, depth: int) -> dict:
    simple = (_string, _integer, _number, _enum, _boolean, _null_or_other)
    nested = (_object, _object, _array, _array, _one_of_several, _map)
    return chance.choice((*simple, *nested) if depth else simple)(chance, depth - 1)


def _object(chance: random.Random, depth: int) -> dict:
    names = chance.sample(WORDS, chance.randint(0, 5))
    made = {"type": "object", "properties": {name: _any(chance, depth) for name in names}}
    made["required"] = [name for name in names if chance.random() < 0.7]
    if chance.random() < 0.7:
        made["additionalProperties"] = False
    return made


def _map(chance: random.Random, depth: int) -> dict:
    made = {"type": "object", "additionalProperties": _any(chance, depth)}
    return {**made, "minProperties": 1} if chance.random() < 0.3 else made


def _array(chance: random.Random, depth: int) -> dict:
    made = {"type": "array", "items": _any(chance, depth)}
    if chance.random() < 0.4:
        made["minItems"] = chance.randint(1, 3)
    if chance.random() < 0.4:
        made["maxItems"] = chance.randint(3, 6)
    if chance.random() < 0.2:
        made["prefixItems"] = [_any(chance, 0), _any(chance, 0)]
    return made


def _one_of_several(chance: random.Random, depth: int) -> dict:
    return {"anyOf": [_any(chance, depth) for _ in range(chance.randint(2, 3))]}


def _string(chance: random.Random, _depth: int) -> dict:
    kind = chance.randrange(4)
    if kind == 0:
        return {"type": "string", "pattern": chance.choice(PATTERNS)}
    if kind == 1:
        return {"type": "string", "format": chance.choice(FORMATS)}
    if kind == 2:
        least = chance.randint(0, 20)
        return {"type": "string", "minLength": least, "maxLength": least + chance.randint(0, 30)}
    return {"type": "string"}


def _integer(chance: random.Random, _depth: int) -> dict:
    made = {"type": "integer"}
    if chance.random() < 0.6:
        made["minimum"] = chance.randint(-50, 50)
    if chance.random() < 0.6:
        made["maximum"] = made.get("minimum", 0) + chance.randint(0, 500)
    if chance.random() < 0.1:
        return {"type": "integer", "multipleOf": chance.choice((2, 5, 10))}
    return made


def _number(chance: random.Random, _depth: int) -> dict:
    if chance.random() < 0.5:
        return {"type": "number"}
    low = round(chance.uniform(-10, 10), 2)
    return {
        "type": "number",
        chance.choice(("minimum", "exclusiveMinimum")): low,
        "maximum": low + chance.randint(1, 9),
    }


def _enum(chance: random.Random, _depth: int) -> dict:
    values = ["red", "a longer value", "ünï", 3, 2.5, None, True, ["x"], {"a": 1}]
    return {"const": chance.choice(values)} if chance.random() < 0.3 else {"enum": chance.sample(values, 3)}


def _boolean(_chance: random.Random, _depth: int) -> dict:
    return {"type": "boolean"}


def _null_or_other(chance: random.Random, _depth: int) -> dict:
    return {"type": [chance.choice(("string", "integer", "boolean")), "null"]}
