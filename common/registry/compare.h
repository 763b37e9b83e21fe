// What differs between two hives, as trees: keys and values added, removed and changed, in the order of their
// paths. How the hives are laid out does not matter, nor do times: a key whose time alone differs has not
// changed.
//
// Where the two hold the same bytes in the same pages — two states of one hive — nothing there is looked at
// twice: what is equal is passed over by the pages that hold it.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "common/registry/hive.h"

namespace roamstead::registry {

enum class DifferenceKind {
  key_added,    // all below it is reported too
  key_removed,  // what was below it is not reported
  security_changed,
  class_changed,
  value_added,
  value_removed,
  value_changed,  // type or data
};
std::string_view to_string(DifferenceKind kind);

// Views of both hives, valid during the call that gives it.
struct Difference {
  DifferenceKind kind = DifferenceKind::key_added;
  const std::string& path;  // of the key, as in the hive that has it
  const Key* before = nullptr;
  const Key* after = nullptr;
  const Value* value_before = nullptr;
  const Value* value_after = nullptr;
  ByteView data_before;
  ByteView data_after;
};

// Stops when `visit` returns false. What is damaged in either hive is given to `defect` and otherwise left
// out.
void compare(const Hive& before, const Hive& after, const std::function<bool(const Difference&)>& visit,
             const std::function<void(Defect)>& defect);

}  // namespace roamstead::registry
