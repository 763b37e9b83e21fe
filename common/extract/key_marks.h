// Keys of a hive that have to be looked at, as a tree of their names.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "common/registry/hive.h"

namespace roamstead::extract {

class KeyMarks {
 public:
  struct Node {
    std::map<std::u16string, Node> children;  // by upcased name
    bool self = false;                        // the key itself, not only something below it
    bool all = false;                         // it and everything below
    bool damaged = false;                     // something in it could not be read
  };

  // Marks what is not the same in two hives: by their trees, times left out. False when that is more than
  // could ever be sent.
  bool mark_differences(const registry::Hive& before, const registry::Hive& after);
  void mark_all() { root_.self = root_.all = true; }
  const Node& root() const { return root_; }

 private:
  bool mark(const std::string& path, bool all, bool damaged);

  Node root_;
  std::string latest_;  // differences of one key come one after another
  std::uint64_t path_bytes_ = 0;
};

}  // namespace roamstead::extract
