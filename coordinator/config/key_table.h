// The keys of the configuration: one entry for each value in Config, which says how it is written, what it
// may be, and whether a running coordinator takes a new value. A new setting is a member of Config and a line
// in key_table.cpp; loading, checking, `config show` and reloading follow from those.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/result.h"
#include "coordinator/config/config.h"

namespace roamstead::config {

// How a value is written in TOML, where it is in Config, and what it may be.
struct TextKind {  // "text"
  std::string& (*in)(Config&);
  Result<void> (*check)(const std::string&);
};
struct TextsKind {  // ["text", ...]
  std::vector<std::string>& (*in)(Config&);
  Result<void> (*check)(const std::string&);  // each
};
struct DurationKind {  // "30s"
  Duration& (*in)(Config&);
  Duration least;
  Duration most;
};
struct SizeKind {  // "64GiB"
  std::uint64_t& (*in)(Config&);
  std::uint64_t least;
  std::uint64_t most;
};
struct CountKind {  // 16
  std::uint64_t& (*in)(Config&);
  std::uint64_t least;
  std::uint64_t most;
};

struct Key {
  std::string_view name;  // "section.key"
  std::variant<TextKind, TextsKind, DurationKind, SizeKind, CountKind> kind;
  bool reloadable;               // by SIGHUP; otherwise at the next start
  std::string_view description;  // one sentence without its full stop
};

std::span<const Key> keys();
const Key* find_key(std::string_view name);  // null: there is none
// The key that was probably meant; "" when none is near.
std::string nearest_key(std::string_view name);
std::string nearest_section(std::string_view name);

// The value from text, as the command line gives it; lists are separated by commas. Errors say what is
// expected, not where.
Result<void> set_from_text(Config& config, const Key& key, const std::string& text);
// The value of another configuration.
void copy_value(Config& to, const Config& from, const Key& key);
// What may be written for the value in TOML: "30s" with its quotes, 16, ["a", "b"].
std::string toml_text(const Config& config, const Key& key);
// Without quotes; lists separated by ", ".
std::string plain_text(const Config& config, const Key& key);
// "a duration such as \"30s\""
std::string expectation(const Key& key);

// The pieces that the loader sets values by; range and content are checked.
Result<void> set_text(Config& config, const Key& key, const std::string& text);  // all kinds but texts, count
Result<void> set_texts(Config& config, const TextsKind& kind, std::vector<std::string> texts);
Result<void> set_count(Config& config, const CountKind& kind, std::uint64_t count);

}  // namespace roamstead::config
