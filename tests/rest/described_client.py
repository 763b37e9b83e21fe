"""A client that learns all it knows from an OpenAPI 3.1 description, and holds the server to it: what it sends is made
from schemas and examples, what comes back is validated."""
import http.client
import json
import ssl

import jsonschema

# What OpenAPI 3.1 wants of a description, as far as this one goes (https://spec.openapis.org/oas/v3.1.0): written down
# here from the specification, so that a mistake in the generator is not repeated.
DESCRIPTION = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "properties": {
        "openapi": {"pattern": "^3\\.1\\.\\d+$"},
        "info": {"type": "object", "required": ["title", "version"],
                 "properties": {"title": {"type": "string"}, "version": {"type": "string"}}},
        "paths": {"type": "object", "patternProperties": {"^/": {"$ref": "#/$defs/path"}}, "additionalProperties": False},
        "components": {"type": "object", "properties": {
            "schemas": {"type": "object", "additionalProperties": {"type": "object"}},
            "parameters": {"type": "object", "additionalProperties": {"$ref": "#/$defs/parameter"}},
            "responses": {"type": "object", "additionalProperties": {"$ref": "#/$defs/response"}},
            "securitySchemes": {"type": "object", "additionalProperties": {
                "type": "object", "required": ["type"],
                "properties": {"type": {"enum": ["apiKey", "http", "mutualTLS", "oauth2", "openIdConnect"]}}}}},
            "additionalProperties": False},
        "security": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "array"}}},
    },
    "$defs": {
        "path": {"type": "object", "patternProperties": {
            "^(get|put|post|delete|patch)$": {"$ref": "#/$defs/operation"}}, "additionalProperties": False},
        "operation": {
            "type": "object", "required": ["operationId", "responses"],
            "properties": {
                "operationId": {"type": "string"}, "summary": {"type": "string"},
                "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
                "parameters": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/reference"},
                                                                    {"$ref": "#/$defs/parameter"}]}},
                "requestBody": {"type": "object", "required": ["content"],
                                "properties": {"required": {"type": "boolean"}, "content": {"$ref": "#/$defs/content"}},
                                "additionalProperties": False},
                "responses": {"type": "object", "minProperties": 1, "patternProperties": {
                    "^([1-5]\\d\\d|default)$": {"anyOf": [{"$ref": "#/$defs/reference"}, {"$ref": "#/$defs/response"}]}},
                    "additionalProperties": False}},
            "patternProperties": {"^x-": True}, "additionalProperties": False},
        "parameter": {
            "type": "object", "required": ["name", "in", "schema"],
            "properties": {"name": {"type": "string"}, "in": {"enum": ["query", "header", "path", "cookie"]},
                           "description": {"type": "string"}, "required": {"type": "boolean"},
                           "schema": {"type": "object"}},
            "if": {"properties": {"in": {"const": "path"}}},
            "then": {"required": ["required"], "properties": {"required": {"const": True}}},
            "additionalProperties": False},
        "response": {"type": "object", "required": ["description"],
                     "properties": {"description": {"type": "string"}, "content": {"$ref": "#/$defs/content"},
                                    "headers": {"type": "object", "additionalProperties": {
                                        "type": "object", "required": ["schema"]}}},
                     "additionalProperties": False},
        "content": {"type": "object", "additionalProperties": {
            "type": "object", "required": ["schema"], "properties": {"schema": {"type": "object"}},
            "additionalProperties": False}},
        "reference": {"type": "object", "required": ["$ref"], "properties": {"$ref": {"pattern": "^#/components/"}},
                      "additionalProperties": False},
    },
}


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class Identity:
    """Who connects: certificate and key in a folder, as `roamstead admin-certificate create` writes them."""

    def __init__(self, address, ca, folder=None):
        self.address = address
        self.context = ssl.create_default_context(cafile=ca)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        if folder:
            self.context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")

    def connect(self, timeout=20):
        return http.client.HTTPSConnection(*self.address, context=self.context, timeout=timeout)

    def ask(self, method, target, body=None, headers=None, connection=None):
        connection = connection or self.connect()
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, target, body, headers)
        reply = connection.getresponse()
        return Answer(reply.status, reply.headers, reply.read())


class Description:
    def __init__(self, document):
        self.document = document
        jsonschema.Draft202012Validator(DESCRIPTION).validate(document)
        self.operations = {}
        self.references_are_good(document)
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                name = operation["operationId"]
                assert name not in self.operations, "two operations " + name
                operation = dict(operation, path=path, method=method.upper())
                operation["parameters"] = [self.resolve(each) for each in operation.get("parameters", [])]
                self.operations[name] = operation
                named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
                written = {part[1:-1] for part in path.split("/") if part.startswith("{")}
                assert named == written, f"{path}: {named} and {written}"
        for name, schema in document["components"]["schemas"].items():
            jsonschema.Draft202012Validator.check_schema(schema)

    def resolve(self, part):
        while "$ref" in part:
            target = self.document
            for step in part["$ref"][2:].split("/"):
                target = target[step]
            part = target
        return part

    def references_are_good(self, part):
        if isinstance(part, dict):
            if "$ref" in part:
                self.resolve(part)
            for each in part.values():
                self.references_are_good(each)
        elif isinstance(part, list):
            for each in part:
                self.references_are_good(each)

    def validate(self, schema, value):
        schema = dict(schema, components=self.document["components"])
        jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)

    def target(self, operation, path, query=None):
        from urllib.parse import quote, urlencode
        steps = [quote(str(path[each[1:-1]]), safe="") if each.startswith("{") else each
                 for each in operation["path"].split("/")]
        return "/".join(steps) + ("?" + urlencode(query) if query else "")

    def check(self, operation, answer):
        """The answer is one of those that the operation describes."""
        responses = operation["responses"]
        what = f"{operation['operationId']}: {answer.status} {answer.body[:500]}"
        problem = str(answer.status) not in responses
        assert not problem or answer.status >= 400, what
        response = self.resolve(responses["default" if problem else str(answer.status)])
        content = response.get("content")
        if not content:
            assert not answer.body, what
            return
        kind = answer.headers["Content-Type"]
        assert kind in content, what + " " + kind
        for name in response.get("headers", {}):
            assert answer.headers[name], what + ": no header " + name
        if kind.endswith("json"):
            try:
                self.validate(content[kind]["schema"], answer.json)
            except jsonschema.ValidationError as error:
                raise AssertionError(f"{what}: {error.message} at {list(error.absolute_path)}") from None
        if problem:
            assert answer.json["status"] == answer.status, what


class Client:
    """Calls operations by name; notes which were called."""

    def __init__(self, description, identity, called):
        self.description, self.identity, self.called = description, identity, called

    def call(self, name, path=None, body=None, query=None, headers=None, expect=None):
        operation = self.description.operations[name]
        if body is not None:
            content = operation["requestBody"]["content"]["application/json"]
            if expect is None or expect < 400:
                self.description.validate(content["schema"], body)
        answer = self.identity.ask(operation["method"], self.description.target(operation, path or {}, query), body, headers)
        self.description.check(operation, answer)
        good = [int(status) for status in operation["responses"] if status != "default" and status != "304"]
        expected = [expect] if expect else good
        assert answer.status in expected, f"{name}: {answer.status}, not {expected}: {answer.body}"
        if answer.status < 400:
            self.called.add(name)
        return answer

    def problem(self, name, kind, *arguments, **named):
        """It must be refused, with this kind of problem."""
        operation = self.description.operations[name]
        path, body, query = named.get("path", {}), named.get("body"), named.get("query")
        answer = self.identity.ask(operation["method"], self.description.target(operation, path, query), body,
                                   named.get("headers"))
        self.description.check(operation, answer)
        assert answer.status >= 400 and answer.json["type"] == "urn:roamstead:problem:" + kind, \
            f"{name}: {answer.status} {answer.body} where {kind} was due"
        return answer

    def pages(self, name, limit, path=None, query=None, between=None):
        """All items, page by page; `between` is done after each."""
        items, cursor = [], None
        while True:
            asked = dict(query or {}, limit=limit)
            if cursor:
                asked["cursor"] = cursor
            page = self.call(name, path, query=asked).json
            assert len(page["items"]) <= limit
            items += page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                return items
            if between:
                between()

    def follow(self, target_operation, after=None):
        """The events of an operation, to its end."""
        operation = self.description.operations["followOperation"]
        connection = self.identity.connect()
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        connection.request("GET", self.description.target(operation, {"operation": target_operation}), None, headers)
        reply = connection.getresponse()
        assert reply.status == 200 and reply.headers["Content-Type"] == "text/event-stream"
        self.called.add("followOperation")
        events, event = [], {}
        for line in reply:
            line = line.decode().rstrip("\n")
            if not line:
                if "data" in event:
                    event["data"] = json.loads(event["data"])
                    self.description.validate({"$ref": "#/components/schemas/Operation"}, event["data"])
                    events.append(event)
                event = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                event[name] = value
        return events

    def finish(self, answer):
        """The result of an operation that was begun."""
        operation = answer.json
        assert answer.headers["Location"] == "/v1/operations/" + operation["operation"]
        events = self.follow(operation["operation"])
        assert [int(each["id"]) for each in events] == sorted({int(each["id"]) for each in events})
        last = events[-1]["data"]
        assert events[-1]["event"] == last["state"] and last["state"] in ("done", "failed")
        assert self.call("getOperation", {"operation": operation["operation"]}).json == last
        return last


def description_from(identity):
    answer = identity.ask("GET", "/openapi.json")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
    return Description(answer.json)
