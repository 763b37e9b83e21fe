// What requests and answers are made of, as data: the OpenAPI description is written from it, requests are
// checked against it, and a client that was written from the description checks the answers.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace roamstead::rest {

enum class Type {
  text,
  integer,  // not negative
  number,
  flag,
  time,    // RFC 3339, UTC; a number of 100 ns in commands, where its name ends in _100ns instead of _time
  object,  // of the schema `of`
  list,    // of the schema `of`, or of texts where that is empty
  any,     // what it is depends on another field
};

struct Field {
  std::string name;
  Type type = Type::text;
  std::string description;
  bool required = true;
  std::string of = {};                    // the schema of an object, or of a list's items
  std::vector<std::string> choices = {};  // a text is one of these
  std::string pattern = {};               // of a text: a name's characters
  std::uint64_t least = 0, most = 0;      // of an integer, or of a text's bytes; most 0: no limit of its own
  std::string example = {};               // of a text
};

struct Schema {
  std::string name;
  std::string description;
  std::vector<Field> fields;
};

// All that have a name.
const std::vector<Schema>& schemas();
const Schema* find_schema(const std::string& name);

// JSON Schema (2020-12) of an object with these fields and no other, as OpenAPI 3.1 has it.
nlohmann::json json_schema(const std::vector<Field>& fields, const std::string& description);
nlohmann::json json_schema(const Field& field);

// What is wrong with a request's object; the field of each in "pointer" (RFC 6901) and the rest in "detail".
// Empty: nothing.
nlohmann::json faults_of(const nlohmann::json& object, const std::vector<Field>& fields);
// As the value of a query's or a path's text; the fault otherwise.
tl::expected<nlohmann::json, std::string> value_of(const std::string& text, const Field& field);

// "until_time": "2026-12-31T18:00:00Z" to "until_100ns": N, for commands; what faults_of has passed.
nlohmann::json to_command(nlohmann::json object);
// And back, in all of an answer; a time of 0 is left out.
nlohmann::json from_command(const nlohmann::json& answer);
// Nothing for what is no time from 1970 on.
bool parse_time(const std::string& text, std::uint64_t& time_100ns);
std::string time_text(std::uint64_t time_100ns);

}  // namespace roamstead::rest
