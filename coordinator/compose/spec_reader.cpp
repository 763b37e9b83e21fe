#include "coordinator/compose/spec_reader.h"

#include "common/base/nearest.h"

namespace roamstead::compose {

void SpecProblems::note(const toml::source_region& where, const std::string& what) {
  problems_.push_back(source_ + ":" + std::to_string(where.begin.line) + ": " + what);
}

Error SpecProblems::error() const {
  std::string all;
  for (const auto& problem : problems_) all += (all.empty() ? "" : "\n") + problem;
  return Error(ErrorCode::invalid_argument, all);
}

std::string SpecTable::full_name(std::string_view key) const {
  return name_.empty() ? std::string(key) : name_ + "." + std::string(key);
}

const toml::node* SpecTable::find(const char* key) {
  known_.emplace_back(key);
  return table_.get(key);
}

void SpecTable::text(const char* key, const CheckText& take) {
  const auto* node = find(key);
  if (node == nullptr) return;
  if (!node->is_string()) {
    problems_.note(node->source(), full_name(key) + ": expected a text");
    return;
  }
  if (auto taken = take(node->as_string()->get()); !taken)
    problems_.note(node->source(), full_name(key) + ": " + taken.error().to_string());
}

void SpecTable::value(const char* key, const std::function<Result<void>(const toml::node& value)>& take) {
  const auto* node = find(key);
  if (node == nullptr) return;
  if (auto taken = take(*node); !taken)
    problems_.note(node->source(), full_name(key) + ": " + taken.error().to_string());
}

void SpecTable::texts(const char* key, const CheckText& take_each) {
  const auto* node = find(key);
  if (node == nullptr) return;
  const auto* list = node->as_array();
  if (list == nullptr || !(list->empty() || list->is_homogeneous<std::string>())) {
    problems_.note(node->source(), full_name(key) + ": expected a list of texts");
    return;
  }
  for (const auto& each : *list)
    if (auto taken = take_each(each.as_string()->get()); !taken)
      problems_.note(each.source(), full_name(key) + ": " + taken.error().to_string());
}

void SpecTable::flag(const char* key, bool& out) {
  const auto* node = find(key);
  if (node == nullptr) return;
  if (!node->is_boolean())
    problems_.note(node->source(), full_name(key) + ": expected true or false");
  else
    out = node->as_boolean()->get();
}

void SpecTable::number(const char* key, std::uint64_t least, std::uint64_t most, std::uint64_t& out) {
  const auto* node = find(key);
  if (node == nullptr) return;
  const auto* number = node->as_integer();
  if (number == nullptr || number->get() < 0 || static_cast<std::uint64_t>(number->get()) < least ||
      static_cast<std::uint64_t>(number->get()) > most)
    problems_.note(node->source(), full_name(key) + ": expected a number from " + std::to_string(least) +
                                       " to " + std::to_string(most));
  else
    out = static_cast<std::uint64_t>(number->get());
}

void SpecTable::table(const char* key, const std::function<void(SpecTable&)>& take) {
  const auto* node = find(key);
  if (node == nullptr) return;
  if (!node->is_table()) {
    problems_.note(node->source(), "'" + full_name(key) + "' is a section: write [" + full_name(key) + "]");
    return;
  }
  SpecTable part(*node->as_table(), full_name(key), problems_);
  take(part);
  part.done();
}

void SpecTable::tables(const char* key, const std::function<void(SpecTable&)>& take_each) {
  const auto* node = find(key);
  if (node == nullptr) return;
  const auto* list = node->as_array();
  if (list == nullptr || !list->is_homogeneous<toml::table>()) {
    problems_.note(node->source(),
                   "'" + full_name(key) + "' is a list of sections: write [[" + full_name(key) + "]]");
    return;
  }
  for (const auto& each : *list) {
    SpecTable part(*each.as_table(), full_name(key), problems_);
    take_each(part);
    part.done();
  }
}

void SpecTable::every_text(
    const std::function<Result<void>(const std::string& key, const std::string& value)>& take) {
  for (const auto& [key, node] : table_) {
    known_.emplace_back(key.str());
    if (!node.is_string()) {
      problems_.note(node.source(), full_name(key.str()) + ": expected a text");
    } else if (auto taken = take(std::string(key.str()), node.as_string()->get()); !taken) {
      problems_.note(node.source(), full_name(key.str()) + ": " + taken.error().to_string());
    }
  }
}

void SpecTable::every_value(
    const std::function<Result<void>(const std::string& key, const toml::node& value)>& take) {
  for (const auto& [key, node] : table_) {
    known_.emplace_back(key.str());
    if (auto taken = take(std::string(key.str()), node); !taken)
      problems_.note(node.source(), full_name(key.str()) + ": " + taken.error().to_string());
  }
}

void SpecTable::every_table(const std::function<void(const std::string& key, SpecTable&)>& take) {
  for (const auto& [key, node] : table_) {
    const std::string name(key.str());
    table(name.c_str(), [&](SpecTable& part) { take(name, part); });
  }
}

void SpecTable::require(const char* key) {
  if (!table_.contains(key)) note("'" + full_name(key) + "' is missing");
}

void SpecTable::note_at(const char* key, const std::string& what) const {
  const auto* node = table_.get(key);
  problems_.note(node == nullptr ? table_.source() : node->source(), full_name(key) + ": " + what);
}

void SpecTable::done() {
  for (const auto& [key, node] : table_) {
    const std::string name(key.str());
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    auto what = (node.is_table() ? "unknown section [" : "unknown key '") + full_name(name) +
                (node.is_table() ? "]" : "'");
    if (const auto near = nearest(name, known_); !near.empty()) what += "; did you mean '" + near + "'?";
    problems_.note(key.source(), what);
  }
}

}  // namespace roamstead::compose
