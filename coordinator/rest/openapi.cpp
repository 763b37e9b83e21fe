#include "coordinator/rest/openapi.h"

#include <nlohmann/json.hpp>

#include "coordinator/rest/problem.h"
#include "coordinator/rest/route.h"

namespace roamstead::rest {
namespace {

using nlohmann::json;

constexpr const char* kIntroduction =
    "For connection brokers and administrators. Clients show a certificate (`roamstead admin-certificate "
    "create`), whose role is one of viewer, operator and administrator, each of which may do what those "
    "before "
    "it may; `x-least-role` says whom an operation is for.\n\n"
    "Lists come in pages: while an answer has `next_cursor`, that is the next request's `cursor`. Items that "
    "come or go meanwhile are never a reason for others to be missed or told twice.\n\n"
    "A request that changes something may have an `Idempotency-Key` of its own: whoever repeats it within 24 "
    "hours gets the first answer again.\n\n"
    "Errors are problem details (RFC 9457), known by their `type`.";

json reference(const std::string& schema) { return {{"$ref", "#/components/schemas/" + schema}}; }

json content(const std::string& type, json schema) { return {{type, {{"schema", std::move(schema)}}}}; }

json parameter(const Field& field, const char* in) {
  auto schema = json_schema(field);
  schema.erase("description");
  json made{{"name", field.name}, {"in", in}, {"description", field.description}, {"schema", schema}};
  made["required"] = field.required;
  return made;
}

json common_parameter(const char* name) { return {{"$ref", std::string("#/components/parameters/") + name}}; }

json page_of(const std::string& item) {
  return {{"type", "object"},
          {"additionalProperties", false},
          {"required", {"items"}},
          {"properties",
           {{"items", {{"type", "array"}, {"maxItems", kMostItems}, {"items", reference(item)}}},
            {"next_cursor",
             {{"type", "string"}, {"description", "Where the next page begins; without: none"}}}}}};
}

bool changes_something(const Route& route) { return route.method != "GET"; }

bool has_item(const Route& route) {
  for (const auto& other : routes())
    if (other.path == route.path && other.shape == Shape::item) return true;
  return false;
}

json parameters_of(const Route& route) {
  auto list = json::array();
  for (const auto& name : path_fields(route.path)) {
    auto made = parameter(path_field(name), "path");
    made["required"] = true;
    list.push_back(made);
  }
  for (const auto& field : route.query) list.push_back(parameter(field, "query"));
  if (route.shape == Shape::page) {
    list.push_back(common_parameter("limit"));
    list.push_back(common_parameter("cursor"));
  }
  if (changes_something(route)) list.push_back(common_parameter("idempotencyKey"));
  if (changes_something(route) && has_item(route)) list.push_back(common_parameter("ifMatch"));
  if (route.shape == Shape::item) list.push_back(common_parameter("ifNoneMatch"));
  if (route.shape == Shape::stream) list.push_back(common_parameter("lastEventId"));
  return list;
}

json responses_of(const Route& route) {
  const json location{{"Location", {{"description", "Where it is found"}, {"schema", {{"type", "string"}}}}}};
  const json tag{
      {"ETag", {{"description", "For If-Match and If-None-Match"}, {"schema", {{"type", "string"}}}}}};
  json responses{{"default", {{"$ref", "#/components/responses/Problem"}}}};
  switch (route.shape) {
    case Shape::page:
      responses["200"] = {{"description", "Some of them"},
                          {"content", content("application/json", page_of(route.answer))}};
      break;
    case Shape::item:
      responses["200"] = {{"description", "It"},
                          {"headers", tag},
                          {"content", content("application/json", reference(route.answer))}};
      responses["304"] = {{"description", "It has not changed"}};
      break;
    case Shape::act:
      responses["200"] = {{"description", "Done"},
                          {"content", content("application/json", reference(route.answer))}};
      break;
    case Shape::create:
      responses["201"] = {{"description", "Made"},
                          {"headers", location},
                          {"content", content("application/json", reference(route.answer))}};
      break;
    case Shape::operation:
      responses["202"] = {{"description", "Begun; follow the operation"},
                          {"headers", location},
                          {"content", content("application/json", reference(route.answer))}};
      break;
    case Shape::stream:
      responses["200"] = {
          {"description",
           "Events `progress`, and one of `done` and `failed` as the last; the data of each is an Operation. "
           "Lines that begin with a colon come while nothing happens."},
          {"content", content("text/event-stream", {{"type", "string"}})}};
      break;
  }
  return responses;
}

json operation_of(const Route& route, const std::string& least_role) {
  json operation{{"operationId", route.id},
                 {"summary", route.summary},
                 {"tags", {route.tag}},
                 {"parameters", parameters_of(route)},
                 {"responses", responses_of(route)},
                 {"x-least-role", least_role}};
  if (route.body.empty()) return operation;
  bool required = false;
  for (const auto& field : route.body) required = required || field.required;
  operation["requestBody"] = {{"required", required},
                              {"content", content("application/json", json_schema(route.body, ""))}};
  return operation;
}

json common_parameters() {
  auto made = [](const char* name, const char* in, const char* description, json schema) {
    return json{{"name", name}, {"in", in}, {"description", description}, {"schema", std::move(schema)}};
  };
  const json text{{"type", "string"}};
  return {
      {"limit",
       made("limit", "query", "How many items at most",
            {{"type", "integer"}, {"minimum", 1}, {"maximum", kMostItems}, {"default", kDefaultItems}})},
      {"cursor", made("cursor", "query", "The `next_cursor` of the page before", text)},
      {"idempotencyKey",
       made("Idempotency-Key", "header", "One of the client's own for every request, such as a random UUID",
            {{"type", "string"}, {"minLength", 16}, {"maxLength", 128}, {"pattern", "^[!-~]+$"}})},
      {"ifMatch", made("If-Match", "header", "Only if this is its ETag", text)},
      {"ifNoneMatch", made("If-None-Match", "header", "Only if this is not its ETag", text)},
      {"lastEventId", made("Last-Event-ID", "header", "The events after this one", text)}};
}

}  // namespace

json openapi(const std::string& version, const std::function<std::string(const std::string&)>& least_role) {
  json description{{"openapi", "3.1.0"},
                   {"info",
                    {{"title", "Roamstead coordinator"},
                     {"version", version},
                     {"description", kIntroduction},
                     {"license", {{"name", "GPL-3.0-or-later"}, {"identifier", "GPL-3.0-or-later"}}}}},
                   {"security", json::array({{{"certificate", json::array()}}})},
                   {"paths", json::object()}};
  auto& parts = description["components"];
  parts["securitySchemes"]["certificate"] = {{"type", "mutualTLS"},
                                             {"description", "A certificate of the kind of administrators"}};
  parts["parameters"] = common_parameters();
  parts["responses"]["Problem"] = {{"description", "What went wrong"},
                                   {"content", content("application/problem+json", reference("Problem"))}};
  for (const auto& schema : schemas())
    parts["schemas"][schema.name] = json_schema(schema.fields, schema.description);
  auto types = json::array();
  for (const auto& kind : problem_kinds()) types.push_back(problem_type(kind));
  parts["schemas"]["Problem"]["properties"]["type"]["enum"] = types;
  for (const auto& route : routes()) {
    auto method = route.method;
    for (auto& c : method) c = static_cast<char>(c - 'A' + 'a');
    description["paths"][route.path][method] =
        operation_of(route, route.command.empty() ? "viewer" : least_role(route.command));
  }
  description["paths"]["/openapi.json"]["get"] = {
      {"operationId", "getDescription"},
      {"summary", "This description"},
      {"tags", {"description"}},
      {"responses",
       {{"200", {{"description", "It"}, {"content", content("application/json", {{"type", "object"}})}}},
        {"default", {{"$ref", "#/components/responses/Problem"}}}}},
      {"x-least-role", "viewer"}};
  return description;
}

}  // namespace roamstead::rest
