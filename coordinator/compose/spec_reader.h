// Reads TOML key by key, and notes everything that is wrong with it, each with its line.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "coordinator/config/toml.h"

namespace roamstead::compose {

class SpecProblems {
 public:
  explicit SpecProblems(std::string source) : source_(std::move(source)) {}
  void note(const toml::source_region& where, const std::string& what);
  bool empty() const { return problems_.empty(); }
  Error error() const;

 private:
  const std::string source_;
  std::vector<std::string> problems_;
};

// One table. Keys that nobody has asked for when done() is called are unknown.
class SpecTable {
 public:
  SpecTable(const toml::table& table, std::string name, SpecProblems& problems)
      : table_(table), name_(std::move(name)), problems_(problems) {}

  // Each is without effect where the key is missing, and notes what is of another kind or refused.
  using CheckText = std::function<Result<void>(const std::string&)>;
  void text(const char* key, const CheckText& take);
  // Of any kind.
  void value(const char* key, const std::function<Result<void>(const toml::node& value)>& take);
  void texts(const char* key, const CheckText& take_each);
  void flag(const char* key, bool& out);
  void number(const char* key, std::uint64_t least, std::uint64_t most, std::uint64_t& out);
  void table(const char* key, const std::function<void(SpecTable&)>& take);
  // [[key]], or key = [{...}]
  void tables(const char* key, const std::function<void(SpecTable&)>& take_each);
  // All keys of a table whose keys are not ours to know.
  void every_text(const std::function<Result<void>(const std::string& key, const std::string& value)>& take);
  bool has(const char* key) const { return table_.contains(key); }
  // Values of any kind, and sections, of a table whose keys are not ours to know.
  void every_value(const std::function<Result<void>(const std::string& key, const toml::node& value)>& take);
  void every_table(const std::function<void(const std::string& key, SpecTable&)>& take);
  // Notes a key that must be there and is not.
  void require(const char* key);
  // About this table, at its first line.
  void note(const std::string& what) const { problems_.note(table_.source(), what); }
  void note_at(const char* key, const std::string& what) const;
  void done();

 private:
  const toml::node* find(const char* key);
  std::string full_name(std::string_view key) const;

  const toml::table& table_;
  const std::string name_;  // "" the whole file
  SpecProblems& problems_;
  std::vector<std::string> known_;
};

}  // namespace roamstead::compose
